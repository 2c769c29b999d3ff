"""Dead letters as they lie in their table: found, taken for a replay, and marked with what became of it."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.access import PlatformScope
from analytics_core.database import ReadSession, WriteSession
from analytics_core.errors import FieldError
from analytics_core.events import EVENT_BYTES_MAX, Reason
from analytics_core.sql import load_queries
from analytics_ingest.decode import StreamReason
from analytics_ingest.limits import DEAD_LETTER_START_BYTES

QUERIES = load_queries("analytics_ingest", "dead_letters")
ID_MAX = 2**63 - 1
REASONS = (*(reason.value for reason in Reason), *(reason.value for reason in StreamReason))

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Time = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339 with an offset.")]


class Filter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which dead letters are meant; what is absent does not matter. `end` is exclusive; both bound `deadLetteredAt`."""

    reason: Name | None = None
    stream: Name | None = None
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    org_id: UUID | None = None
    start: Time | None = None
    end: Time | None = None

    def problems(self) -> Iterator[FieldError]:
        """What the types allow and no dead letter can have."""
        if self.reason is not None and self.reason not in REASONS:
            yield FieldError("reason", f"expected one of {', '.join(REASONS)}")
        if "\0" in (self.stream or ""):
            yield FieldError("stream", "contains a NUL character")
        for name in ("start", "end"):
            time: datetime | None = getattr(self, name)
            if time is not None and time.tzinfo is None:
                yield FieldError(name, "expected an RFC 3339 time with an offset")
            elif time is not None and not _is_storable(time):
                yield FieldError(name, "outside the years 1 to 9999 in UTC")
        # Times without an offset are refused above and cannot be compared with others.
        if self.start and self.end and self.start.tzinfo and self.end.tzinfo and self.end <= self.start:
            yield FieldError("end", "must be after start; it is exclusive")

    @property
    def values(self) -> tuple[object, ...]:
        """In the order of the statements."""
        return msgspec.structs.astuple(self)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message, or one event of it, that could not be stored: where it came from, why, and what became of it.

    `bodyStart` is the beginning of its bytes as text. `orgId` is what the body says, checked by nobody.
    `replayProblem` is why the latest replay was refused.
    """

    dead_letter_id: int
    stream: str
    partition: int
    offset: int
    message_index: int
    reason: str
    field: str | None
    detail: str
    org_id: UUID | None
    dead_lettered_at: datetime
    size_bytes: int
    body_start: str
    replayed_at: datetime | None
    replayed_by: str | None
    replay_problem: str | None


class DeadLetterBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A dead letter with its bytes; `body` is them as text, null when they are not UTF-8.

    `replayedBody` is what was published in their place, null when it was the body itself.
    """

    letter: DeadLetter
    body: str | None
    body_base64: str
    replayed_body: str | None


@dataclass(frozen=True, slots=True)
class Bodies:
    """A dead letter's bytes, and those that were published in their place."""

    letter: DeadLetter
    body: bytes
    replayed_body: bytes | None

    def as_answer(self) -> DeadLetterBody:
        """For JSON."""
        return DeadLetterBody(
            letter=self.letter,
            body=_text(self.body),
            body_base64=b64encode(self.body).decode(),
            replayed_body=None if self.replayed_body is None else self.replayed_body.decode("utf-8", "replace"),
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """A dead letter that is locked; `body` is None when it is larger than an event may be."""

    dead_letter_id: int
    body: bytes | None
    is_replayed: bool = False


async def newest(
    session: ReadSession, _scope: PlatformScope, wanted: Filter, *, replayed: bool | None, before: int, limit: int
) -> list[DeadLetter]:
    """At most `limit` dead letters with ids below `before`, newest first."""
    rows = await session.fetch(
        QUERIES["list_dead_letters"], before, *wanted.values, replayed, DEAD_LETTER_START_BYTES, limit
    )
    return [_letter(row) for row in rows]


async def find(session: ReadSession, _scope: PlatformScope, dead_letter_id: int) -> Bodies | None:
    """One dead letter with all its bytes."""
    row = await session.fetch_row(QUERIES["show_dead_letter"], dead_letter_id)
    return None if row is None else Bodies(_letter(row), row["body"], row["replayed_body"])


async def newest_id(session: ReadSession, _scope: PlatformScope) -> int:
    """The id of the newest dead letter, 0 when there is none."""
    return int(await session.fetch_value(QUERIES["newest_dead_letter"]))


async def take(
    session: WriteSession, _scope: PlatformScope, wanted: Filter, *, after: int, through: int, limit: int
) -> list[Taken]:
    """Lock the next dead letters that were not replayed yet, oldest first."""
    rows = await session.fetch(QUERIES["take_dead_letters"], after, through, *wanted.values, limit, EVENT_BYTES_MAX)
    return [Taken(row["dead_letter_id"], row["body"]) for row in rows]


async def take_one(session: WriteSession, _scope: PlatformScope, dead_letter_id: int) -> Taken | None:
    """Lock one dead letter, replayed or not."""
    row = await session.fetch_row(QUERIES["take_dead_letter"], dead_letter_id, EVENT_BYTES_MAX)
    return None if row is None else Taken(row["dead_letter_id"], row["body"], row["is_replayed"])


async def note_replayed(session: WriteSession, ids: Sequence[int], by: str, corrected: bytes | None) -> None:
    """The stream has confirmed what was made of these."""
    await session.execute(QUERIES["note_replayed"], list(ids), by, corrected)


async def note_refused(session: WriteSession, problems: Sequence[tuple[int, str]]) -> None:
    """These were wrong once more, and why."""
    await session.execute(QUERIES["note_refused"], [number for number, _ in problems], [why for _, why in problems])


def _letter(row: dict[str, object]) -> DeadLetter:
    fields = {name: row[name] for name in DeadLetter.__struct_fields__ if name not in {"offset", "body_start"}}
    body = row["body"]
    start = body[:DEAD_LETTER_START_BYTES].decode("utf-8", "replace") if isinstance(body, bytes) else ""
    return DeadLetter(offset=row["stream_offset"], body_start=start, **fields)  # type: ignore[arg-type]


def _is_storable(time: datetime) -> bool:
    try:
        return time.astimezone(UTC) is not None
    except OverflowError:
        return False


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
