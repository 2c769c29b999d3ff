"""`/analytics/v1/dead-letters`: what could not be stored; look at it, mend it, replay it. For the administrator."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

from analytics_core.access import PlatformAction, PlatformDecision, PlatformScope
from analytics_core.database import ReadDatabase
from analytics_core.errors import FieldError, InvalidRequest, NotFound
from analytics_core.events import EVENT_BYTES_MAX
from analytics_core.http.app import API_PREFIX
from analytics_core.http.problems import problem_responses
from analytics_ingest import dead_letter_store as store
from analytics_ingest.dead_letter_replay import Outcome, Position, Replays
from analytics_ingest.dead_letter_store import ID_MAX, DeadLetter, DeadLetterBody, Filter
from analytics_ingest.limits import DEAD_LETTERS_PAGE_DEFAULT, DEAD_LETTERS_PAGE_MAX

PATH = f"{API_PREFIX}/dead-letters"
_BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
_QUERY = {"reason", "stream", "partition", "orgId", "start", "end", "replayed", "limit", "cursor"}

_Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_Limit = Annotated[int, msgspec.Meta(ge=1, le=DEAD_LETTERS_PAGE_MAX)]


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Newest first. `nextCursor` is null on the last page."""

    items: list[DeadLetter]
    next_cursor: str | None


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Either one dead letter, with a corrected body if need be, or all that match a filter (`{}` is all there are).

    A filter takes those that were not replayed yet, oldest first, `limit` of them; go on with `cursor`.
    """

    dead_letter_id: Annotated[int, msgspec.Meta(ge=1, le=ID_MAX)] | None = None
    body: Annotated[str, msgspec.Meta(min_length=1, max_length=EVENT_BYTES_MAX)] | None = None
    filter: Filter | None = None
    limit: _Limit | None = None
    cursor: _Cursor | None = None
    dry_run: bool = False


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of each dead letter. With `dryRun`: what would; nothing was published or noted."""

    outcomes: list[Outcome]
    replayed: int
    refused: int
    already_replayed: int
    dry_run: bool
    next_cursor: str | None


@get(
    PATH,
    opt={"action": PlatformAction.DEAD_LETTERS_READ},
    operation_id="listDeadLetters",
    summary="List dead letters, newest first",
    response_description="A page of dead letters",
    tags=["dead letters"],
    security=_BEARER,
    responses=problem_responses(401, 403, 422, 503),
)
async def list_dead_letters(
    request: Request[Any, Any, Any],
    platform_scope: NamedDependency[PlatformScope],
    dead_letter_database: NamedDependency[ReadDatabase],
    reason: Annotated[str | None, QueryParameter(min_length=1, max_length=200)] = None,
    stream: Annotated[str | None, QueryParameter(min_length=1, max_length=200)] = None,
    partition: Annotated[int | None, QueryParameter(ge=0, le=2**31 - 1)] = None,
    # The framework would call a wrong one by its Python name.
    org_id: Annotated[
        str | None,
        QueryParameter(name="orgId", schema_extra={"one_of": None, "type": "string", "format": "uuid"}),
    ] = None,
    start: Annotated[datetime | None, QueryParameter(description="RFC 3339 with an offset.")] = None,
    end: Annotated[datetime | None, QueryParameter(description="RFC 3339 with an offset, exclusive.")] = None,
    replayed: Annotated[Literal["true", "false"] | None, QueryParameter()] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=DEAD_LETTERS_PAGE_MAX)] = DEAD_LETTERS_PAGE_DEFAULT,
    cursor: Annotated[str | None, QueryParameter(min_length=1, max_length=100)] = None,
) -> DeadLetterPage:
    """Messages of the stream that are no event, or that the database refused. What is not given does not matter."""
    org = None if org_id is None else _org(org_id)
    wanted = Filter(reason=reason, stream=stream, partition=partition, org_id=org, start=start, end=end)
    _refuse([*_query_errors(request), *wanted.problems()])
    before = _position(cursor).after if cursor is not None else ID_MAX
    async with dead_letter_database.read() as session:
        # One more than asked for tells whether another page follows.
        found = await store.newest(
            session,
            platform_scope,
            wanted,
            replayed=None if replayed is None else replayed == "true",
            before=before,
            limit=limit + 1,
        )
    page = found[:limit]
    more = len(found) > limit
    return DeadLetterPage(items=page, next_cursor=Position(page[-1].dead_letter_id, 0).encode() if more else None)


@get(
    f"{PATH}/{{deadLetterId:int}}",
    opt={"action": PlatformAction.DEAD_LETTERS_READ},
    operation_id="getDeadLetter",
    summary="Show a dead letter with its bytes",
    response_description="The dead letter",
    tags=["dead letters"],
    security=_BEARER,
    responses=problem_responses(401, 403, 404, 503),
)
async def get_dead_letter(
    dead_letter_id: Annotated[int, PathParameter(name="deadLetterId")],
    platform_scope: NamedDependency[PlatformScope],
    dead_letter_database: NamedDependency[ReadDatabase],
) -> DeadLetterBody:
    """All its bytes, for correction: change `body` and replay the letter with it."""
    found = None
    if 0 < dead_letter_id <= ID_MAX:
        async with dead_letter_database.read() as session:
            found = await store.find(session, platform_scope, dead_letter_id)
    if found is None:
        raise NotFound(f"there is no dead letter {dead_letter_id}")
    return found.as_answer()


@post(
    f"{PATH}/replay",
    status_code=200,
    opt={"action": PlatformAction.DEAD_LETTERS_REPLAY},
    operation_id="replayDeadLetters",
    summary="Replay dead letters",
    response_description="What became of each dead letter",
    tags=["dead letters"],
    security=_BEARER,
    responses=problem_responses(401, 403, 404, 413, 422, 503),
)
async def replay_dead_letters(
    data: JSONBody[ReplayRequest],
    platform_scope: NamedDependency[PlatformScope],
    decision: NamedDependency[PlatformDecision],
    replays: NamedDependency[Replays],
) -> ReplayAnswer:
    """Judges each one anew and publishes what is right now to the stream, from where it is stored as every event is.

    `replayed` means that the stream has confirmed it. A dead letter is replayed once: again, it is `already_replayed`,
    and even an event that reaches the stream twice is counted once, by its eventId. After 503 send the request again.
    """
    _check_replay(data)
    by = decision.principal.subject
    following = None
    if data.dead_letter_id is not None:
        corrected = None if data.body is None else data.body.encode("utf-8", "replace")
        outcomes = [await replays.one(platform_scope, by, data.dead_letter_id, corrected, dry_run=data.dry_run)]
    else:
        outcomes, following = await replays.matching(
            platform_scope,
            by,
            data.filter or Filter(),
            limit=data.limit or DEAD_LETTERS_PAGE_MAX,
            position=None if data.cursor is None else _position(data.cursor),
            dry_run=data.dry_run,
        )
    return replay_answer(outcomes, following, dry_run=data.dry_run)


def replay_answer(outcomes: list[Outcome], following: Position | None, *, dry_run: bool) -> ReplayAnswer:
    """The outcomes with their counts."""
    counts = {name: sum(item.outcome == name for item in outcomes) for name in ("replayed", "refused")}
    return ReplayAnswer(
        outcomes=outcomes,
        **counts,
        already_replayed=len(outcomes) - sum(counts.values()),
        dry_run=dry_run,
        next_cursor=None if following is None else following.encode(),
    )


def _check_replay(data: ReplayRequest) -> None:
    if (data.dead_letter_id is None) == (data.filter is None):
        raise InvalidRequest.field("deadLetterId", "give either it or `filter`; a filter of {} is all dead letters")
    of_others = {"limit": data.limit, "cursor": data.cursor} if data.filter is None else {"body": data.body}
    for name, value in of_others.items():
        if value is not None:
            raise InvalidRequest.field(name, "goes with `deadLetterId`" if name == "body" else "goes with `filter`")
    if data.filter is not None:
        _refuse([FieldError(f"filter.{error.field}", error.detail) for error in data.filter.problems()])


def _query_errors(request: Request[Any, Any, Any]) -> Iterator[FieldError]:
    """A misspelled filter must not look like one that matches everything, nor the second of two as if it counted."""
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in list(given.items())[:10]:
        if name not in _QUERY:
            yield FieldError(name[:100], "there is no such parameter")
        elif times > 1:
            yield FieldError(name, "given more than once")


def _refuse(errors: Sequence[FieldError]) -> None:
    if errors:
        raise InvalidRequest("; ".join(f"{error.field}: {error.detail}" for error in errors), errors=tuple(errors))


def _org(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest.field("orgId", "expected a UUID") from None


def _position(cursor: str) -> Position:
    try:
        return Position.decode(cursor)
    except ValueError:
        raise InvalidRequest.field("cursor", "expected the `nextCursor` of the answer before") from None
