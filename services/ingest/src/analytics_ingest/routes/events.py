"""POST /events"""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency

from analytics_core.access import Action
from analytics_core.http.app import API_PREFIX
from analytics_core.http.org_decisions import OrgDecisions
from analytics_core.http.parameters import refuse_unknown
from analytics_core.http.problems import problem_responses
from analytics_ingest.http_ingest import HttpIngest
from analytics_ingest.limits import HTTP_BODY_BYTES_MAX
from analytics_ingest.receipts import Receipts
from analytics_ingest.routes.documentation import EventsOperation
from analytics_ingest.routes.reading import EventReader


@post(
    f"{API_PREFIX}/events",
    status_code=202,
    opt={"action": Action.EVENTS_WRITE, "orgs_in_body": True},
    request_max_body_size=HTTP_BODY_BYTES_MAX,
    operation_class=EventsOperation,
    operation_id="publishEvents",
    summary="Publish usage events",
    tags=["events"],
    security=[{"bearer": []}],
    response_description="A receipt for each event, in the order of the request; some may be rejected",
    responses=problem_responses(401, 403, 408, 413, 415, 422, 429, 503),
)
async def publish_events(
    request: Request[Any, Any, Any],
    org_decisions: NamedDependency[OrgDecisions],
    event_reader: NamedDependency[EventReader],
    http_ingest: NamedDependency[HttpIngest],
) -> Receipts:
    """One event, an array, or one event on each line (NDJSON); at most 1,000 events and 5 MB, also when inflated.

    Each event is checked by itself. `accepted` means that the stream has confirmed it and that it will be counted,
    once, by its eventId. `rejected` says why. After 429, 503 or no answer, send the whole request again: events that
    arrive twice are counted once.
    """
    refuse_unknown(request)
    async with event_reader.read(request, org_decisions.subject) as bodies:
        return await http_ingest.accept(bodies, org_decisions)
