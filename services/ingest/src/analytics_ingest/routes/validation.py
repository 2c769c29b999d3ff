"""POST /events/validate"""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency

from analytics_core.access import Action
from analytics_core.errors import InvalidEvent, InvalidRequest
from analytics_core.http.app import API_PREFIX
from analytics_core.http.org_decisions import OrgDecisions
from analytics_core.http.parameters import refuse_unknown
from analytics_core.http.problems import problem_responses
from analytics_ingest.http_ingest import HttpIngest
from analytics_ingest.limits import HTTP_BODY_BYTES_MAX
from analytics_ingest.routes.documentation import EventsOperation
from analytics_ingest.routes.reading import EventReader

# More would not be read; the count is in the detail.
ERRORS_MAX = 100


@post(
    f"{API_PREFIX}/events/validate",
    status_code=204,
    opt={"action": Action.EVENTS_WRITE, "orgs_in_body": True},
    request_max_body_size=HTTP_BODY_BYTES_MAX,
    operation_class=EventsOperation,
    operation_id="validateEvents",
    summary="Check usage events without publishing them",
    tags=["events"],
    security=[{"bearer": []}],
    response_description="All events would be accepted",
    responses=problem_responses(400, 401, 403, 408, 413, 415, 429, 503),
)
async def validate_events(
    request: Request[Any, Any, Any],
    org_decisions: NamedDependency[OrgDecisions],
    event_reader: NamedDependency[EventReader],
    http_ingest: NamedDependency[HttpIngest],
) -> None:
    """Takes what POST /events takes and publishes nothing. 400 names every wrong field of every event."""
    try:
        refuse_unknown(request)
        async with event_reader.read(request, org_decisions.subject) as bodies:
            errors = await http_ingest.problems(bodies, org_decisions)
    except InvalidRequest as error:
        raise InvalidEvent(error.detail, errors=error.errors) from None
    if errors:
        fields = "1 field is" if len(errors) == 1 else f"{len(errors)} fields are"
        raise InvalidEvent(f"{fields} wrong", errors=tuple(errors[:ERRORS_MAX]))
