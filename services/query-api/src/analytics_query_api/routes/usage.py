"""GET /orgs/{orgId}/usage and GET /usage"""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide

from analytics_core.access import Action, OrgScope, PlatformAction, PlatformScope
from analytics_core.http.app import API_PREFIX
from analytics_core.http.problems import problem_responses
from analytics_query_api.answers import SERIES_ANSWERS, answer_series, wants_csv
from analytics_query_api.days import HeldDays, read_by_days
from analytics_query_api.queries.series import USAGE, USAGE_POINT, read_series
from analytics_query_api.reader import Reader
from analytics_query_api.reports import usage_report
from analytics_query_api.responses import UsageReport
from analytics_query_api.routes.parameters import provide_platform_series, provide_series
from analytics_query_api.selection import Selection


@get(
    f"{API_PREFIX}/orgs/{{orgId:uuid}}/usage",
    opt={"action": Action.USAGE_READ},
    dependencies={"selection": Provide(provide_series, sync_to_thread=False)},
    tags=["usage"],
    operation_id="getUsage",
    summary="Calls, tokens and cost per bucket",
    response_description="The page, the totals of the range, and how fresh they are",
    security=[{"bearer": []}],
    responses=SERIES_ANSWERS | problem_responses(401, 403, 404, 422, 503),
)
async def get_usage(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    selection: NamedDependency[Selection],
    reader: NamedDependency[Reader],
    held_days: NamedDependency[HeldDays],
) -> Response[UsageReport]:
    """Series, totals and freshness are of one moment. `totals` is the whole range, whatever the page."""
    async with reader.snapshot(org_scope) as session:
        now = reader.clock()
        by_days = None if wants_csv(request) else await read_by_days(session, org_scope, selection, now, held_days)
        found = by_days or await read_series(session, org_scope, selection, now, USAGE_POINT, USAGE)
    return answer_series(request, selection, usage_report(org_scope, selection, found))


@get(
    f"{API_PREFIX}/usage",
    opt={"action": PlatformAction.USAGE_READ},
    dependencies={"selection": Provide(provide_platform_series, sync_to_thread=False)},
    tags=["usage"],
    operation_id="getPlatformUsage",
    summary="Calls, tokens and cost per bucket, of all organisations",
    response_description="The page, the totals of the range, and how fresh they are",
    security=[{"bearer": []}],
    responses=SERIES_ANSWERS | problem_responses(401, 403, 422, 503),
)
async def get_platform_usage(
    request: Request[Any, Any, Any],
    platform_scope: NamedDependency[PlatformScope],
    selection: NamedDependency[Selection],
    reader: NamedDependency[Reader],
) -> Response[UsageReport]:
    """For the platform's administrators. At most 7 days by hour, 92 by day, 400 by month."""
    async with reader.snapshot(platform_scope) as session:
        found = await read_series(session, platform_scope, selection, reader.clock(), USAGE_POINT, USAGE)
    return answer_series(request, selection, usage_report(platform_scope, selection, found))
