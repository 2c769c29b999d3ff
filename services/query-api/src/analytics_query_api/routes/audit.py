"""GET /audit and GET /orgs/{orgId}/audit"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter

from analytics_core.access import Action, OrgScope, PlatformAction, PlatformScope
from analytics_core.errors import InvalidRequest
from analytics_core.http.app import API_PREFIX
from analytics_core.http.parameters import refuse_unknown
from analytics_core.http.problems import problem_responses
from analytics_query_api.audit.trail import AuditPage, TrailQuestion, audit_page, decode_cursor
from analytics_query_api.limits import (
    AUDIT_FILTER_CHARACTERS_MAX,
    AUDIT_RANGE_DEFAULT,
    AUDIT_RECORDS_DEFAULT,
    AUDIT_RECORDS_MAX,
)
from analytics_query_api.periods import parse_time
from analytics_query_api.reader import Reader

Value = TypeVar("Value")
_NOT_STORED = {"Cache-Control": "no-store"}
_TIME = {"type": "string", "format": "date-time", "one_of": None}
_TEXT = {
    "type": "string",
    "minLength": 1,
    "maxLength": AUDIT_FILTER_CHARACTERS_MAX,
    "pattern": "^[^\\u0000]+$",
    "one_of": None,
}
_PARAMETERS = ("start", "end", "subject", "action", "decision", "limit", "cursor")


def provide_question(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    start: Annotated[
        str | None, QueryParameter(description="RFC 3339; default: 7 days before `end`.", schema_extra=_TIME)
    ] = None,
    end: Annotated[
        str | None, QueryParameter(description="RFC 3339, exclusive; default: now.", schema_extra=_TIME)
    ] = None,
    org_id: Annotated[
        str | None,
        QueryParameter(
            name="orgId",
            description="Decisions about this organisation alone.",
            schema_extra={"type": "string", "format": "uuid", "one_of": None},
        ),
    ] = None,
    subject: Annotated[str | None, QueryParameter(description="Who asked.", schema_extra=_TEXT)] = None,
    action: Annotated[
        str | None, QueryParameter(description="What for, such as `analytics:usage:read`.", schema_extra=_TEXT)
    ] = None,
    outcome: Annotated[
        str | None,
        QueryParameter(name="decision", schema_extra={"type": "string", "enum": ["allow", "deny"], "one_of": None}),
    ] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=AUDIT_RECORDS_MAX)] = AUDIT_RECORDS_DEFAULT,
    cursor: Annotated[
        str | None, QueryParameter(description="`nextCursor` of the page before.", max_length=100)
    ] = None,
) -> TrailQuestion:
    """Dependency: what was asked for. Raises `InvalidRequest` that names the parameter at fault."""
    path_has_org = "orgId" in request.path_params
    refuse_unknown(request, *_PARAMETERS, *(() if path_has_org else ("orgId",)))
    end_at = _parsed("end", end, parse_time) or reader.clock()
    start_at = _parsed("start", start, parse_time) or _before(end_at)
    if start_at >= end_at:
        raise InvalidRequest.field("end", "must be after start; it is exclusive")
    return TrailQuestion(
        org_id=None if path_has_org else _parsed("orgId", org_id, _uuid),
        start=start_at,
        end=end_at,
        subject=_parsed("subject", subject, _text),
        action=_parsed("action", action, _text),
        decision=_parsed("decision", outcome, _decision),
        after=_parsed("cursor", cursor, decode_cursor),
        limit=limit,
    )


_QUESTION = {"question": Provide(provide_question, sync_to_thread=False)}


@get(
    f"{API_PREFIX}/audit",
    opt={"action": PlatformAction.AUDIT_READ},
    dependencies=_QUESTION,
    tags=["audit"],
    operation_id="getAudit",
    summary="Access decisions, newest first",
    response_description="A page of the trail",
    security=[{"bearer": []}],
    responses=problem_responses(401, 403, 422, 429, 503),
)
async def get_audit(
    platform_scope: NamedDependency[PlatformScope],
    question: NamedDependency[TrailQuestion],
    reader: NamedDependency[Reader],
) -> Response[AuditPage]:
    """Every decision of every service. Reading the trail is in the trail."""
    async with reader.snapshot(platform_scope) as session:
        page = await audit_page(session, platform_scope, question)
    return Response(page, headers=_NOT_STORED)


@get(
    f"{API_PREFIX}/orgs/{{orgId:uuid}}/audit",
    opt={"action": Action.AUDIT_READ},
    dependencies=_QUESTION,
    tags=["audit"],
    operation_id="getOrgAudit",
    summary="Access decisions about one organisation, newest first",
    response_description="A page of the organisation's trail",
    security=[{"bearer": []}],
    responses=problem_responses(401, 403, 404, 422, 429, 503),
)
async def get_org_audit(
    org_scope: NamedDependency[OrgScope],
    question: NamedDependency[TrailQuestion],
    reader: NamedDependency[Reader],
) -> Response[AuditPage]:
    """Who asked for this organisation's data, and whether it was given."""
    async with reader.snapshot(org_scope) as session:
        page = await audit_page(session, org_scope, question)
    return Response(page, headers=_NOT_STORED)


def _parsed(name: str, text: str | None, parse: Callable[[str], Value]) -> Value | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidRequest.field(name, str(error)) from None


def _before(end: datetime) -> datetime:
    try:
        return end - AUDIT_RANGE_DEFAULT
    except OverflowError:
        raise InvalidRequest.field("end", "too early") from None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("expected a UUID") from None


def _text(text: str) -> str:
    if not 1 <= len(text) <= AUDIT_FILTER_CHARACTERS_MAX or "\0" in text:
        raise ValueError(f"expected 1 to {AUDIT_FILTER_CHARACTERS_MAX} characters")
    return text


def _decision(text: str) -> str:
    if text not in {"allow", "deny"}:
        raise ValueError("expected allow or deny")
    return text
