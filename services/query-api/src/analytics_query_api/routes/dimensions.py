"""GET /orgs/{orgId}/dimensions/{dimension}"""

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter

from analytics_core.access import Action, OrgScope
from analytics_core.errors import InvalidRequest
from analytics_core.http.app import API_PREFIX
from analytics_core.http.problems import problem_responses
from analytics_core.query.question import Dimension
from analytics_query_api.answers import NOT_MODIFIED, answer
from analytics_query_api.queries.summaries import read_values
from analytics_query_api.reader import Reader
from analytics_query_api.reports import dimension_report
from analytics_query_api.responses import DimensionReport
from analytics_query_api.routes.parameters import CURSOR, LIMIT_ENTRIES, START, SUMMARY_END
from analytics_query_api.selection import parse_values

LISTED = tuple(item for item in Dimension if item is not Dimension.ORG)


@get(
    f"{API_PREFIX}/orgs/{{orgId:uuid}}/dimensions/{{dimension:str}}",
    opt={"action": Action.USAGE_READ},
    tags=["usage"],
    operation_id="getDimensionValues",
    summary="The models, clients, users, projects … seen in a range",
    response_description="A page of the values",
    security=[{"bearer": []}],
    responses=NOT_MODIFIED | problem_responses(401, 403, 404, 422, 503),
)
async def get_dimension_values(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    dimension: Annotated[
        str,
        PathParameter(description="What is listed.", schema_extra={"enum": [item.value for item in LISTED]}),
    ],
    reader: NamedDependency[Reader],
    start: Annotated[str | None, START] = None,  # noqa: ARG001
    end: Annotated[str | None, SUMMARY_END] = None,  # noqa: ARG001
    limit: Annotated[str | None, LIMIT_ENTRIES] = None,  # noqa: ARG001
    cursor: Annotated[str | None, CURSOR] = None,  # noqa: ARG001
) -> Response[DimensionReport]:
    """Values that calls of the UTC hours have that start in [start, end); null stands for calls without one."""
    if dimension not in LISTED:
        raise InvalidRequest.field("dimension", f"supported are {', '.join(LISTED)}")
    report = f"getDimensionValues/{dimension}"
    selection = parse_values(list(request.query_params.multi_items()), org_scope, report, Dimension(dimension))
    async with reader.snapshot(org_scope) as session:
        rows, freshness = await read_values(session, org_scope, selection, reader.clock())
    return answer(request, dimension_report(org_scope, selection, rows, freshness))
