"""GET /orgs/{orgId}/reliability"""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide

from analytics_core.access import Action, OrgScope
from analytics_core.http.app import API_PREFIX
from analytics_core.http.problems import problem_responses
from analytics_query_api.answers import NOT_MODIFIED, answer_series
from analytics_query_api.queries.freshness import read_freshness
from analytics_query_api.queries.reliability import range_histograms, reliability_page, reliability_totals
from analytics_query_api.reader import Reader
from analytics_query_api.reports import reliability_report
from analytics_query_api.responses import ReliabilityReport
from analytics_query_api.routes.parameters import provide_selection
from analytics_query_api.selection import Selection


@get(
    f"{API_PREFIX}/orgs/{{orgId:uuid}}/reliability",
    opt={"action": Action.RELIABILITY_READ},
    dependencies={"selection": Provide(provide_selection, sync_to_thread=False)},
    tags=["reliability"],
    operation_id="getReliability",
    summary="Error rate and latency percentiles per bucket",
    response_description="The page, the totals of the range, and how fresh they are",
    security=[{"bearer": []}],
    responses=NOT_MODIFIED | problem_responses(401, 403, 404, 422, 503),
)
async def get_reliability(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    selection: NamedDependency[Selection],
    reader: NamedDependency[Reader],
) -> Response[ReliabilityReport]:
    """Series, totals and freshness are of one moment. `totals` is the whole range, whatever the page."""
    async with reader.snapshot(org_scope) as session:
        freshness = await read_freshness(session, org_scope, reader.clock())
        rows = await reliability_page(session, org_scope, selection)
        totals = await reliability_totals(session, org_scope, selection)
        histograms = await range_histograms(session, org_scope, selection)
    return answer_series(request, reliability_report(org_scope, selection, freshness, rows, totals, histograms))
