"""GET /orgs/{orgId}/reliability and GET /orgs/{orgId}/reliability/errors"""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide

from analytics_core.access import Action, OrgScope
from analytics_core.http.app import API_PREFIX
from analytics_core.http.problems import problem_responses
from analytics_query_api.answers import NOT_MODIFIED, SERIES_ANSWERS, answer, answer_series
from analytics_query_api.queries.series import RELIABILITY, RELIABILITY_POINT, read_series
from analytics_query_api.queries.summaries import read_errors
from analytics_query_api.reader import Reader
from analytics_query_api.reports import error_report, reliability_report
from analytics_query_api.responses import ErrorReport, ReliabilityReport
from analytics_query_api.routes.parameters import provide_errors, provide_series
from analytics_query_api.selection import Selection


@get(
    f"{API_PREFIX}/orgs/{{orgId:uuid}}/reliability",
    opt={"action": Action.RELIABILITY_READ},
    dependencies={"selection": Provide(provide_series, sync_to_thread=False)},
    tags=["reliability"],
    operation_id="getReliability",
    summary="Error rate and latency percentiles per bucket",
    response_description="The page, the totals of the range, and how fresh they are",
    security=[{"bearer": []}],
    responses=SERIES_ANSWERS | problem_responses(401, 403, 404, 422, 503),
)
async def get_reliability(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    selection: NamedDependency[Selection],
    reader: NamedDependency[Reader],
) -> Response[ReliabilityReport]:
    """Series, totals and freshness are of one moment. `totals` is the whole range, whatever the page."""
    async with reader.snapshot(org_scope) as session:
        found = await read_series(session, org_scope, selection, reader.clock(), RELIABILITY_POINT, RELIABILITY)
    return answer_series(request, selection, reliability_report(org_scope, selection, found))


@get(
    f"{API_PREFIX}/orgs/{{orgId:uuid}}/reliability/errors",
    opt={"action": Action.RELIABILITY_READ},
    dependencies={"selection": Provide(provide_errors, sync_to_thread=False)},
    tags=["reliability"],
    operation_id="getErrors",
    summary="Which clients and error codes failed calls come from",
    response_description="Groups of failed calls, the most frequent first",
    security=[{"bearer": []}],
    responses=NOT_MODIFIED | problem_responses(401, 403, 404, 422, 503),
)
async def get_errors(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    selection: NamedDependency[Selection],
    reader: NamedDependency[Reader],
) -> Response[ErrorReport]:
    """Calls with the outcomes error, timeout and throttled, of the UTC hours that start in [start, end)."""
    async with reader.snapshot(org_scope) as session:
        rows, totals, freshness = await read_errors(session, org_scope, selection, reader.clock())
    return answer(request, error_report(org_scope, selection, rows, totals, freshness))
