"""GET /orgs/{orgId}/freshness"""

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from analytics_core.access import Action, OrgScope
from analytics_core.http.app import API_PREFIX
from analytics_core.http.problems import problem_responses
from analytics_query_api.answers import NOT_MODIFIED, answer
from analytics_query_api.cache import FreshnessCache
from analytics_query_api.freshness import ModelFacts, PipelineFacts
from analytics_query_api.metrics import FRESHNESS_CACHE_HITS, FRESHNESS_CACHE_MISSES
from analytics_query_api.queries.freshness import model_facts, pipeline_facts
from analytics_query_api.reader import Reader
from analytics_query_api.reports import freshness_report
from analytics_query_api.responses import FreshnessReport
from analytics_query_api.routes.parameters import MODEL_ID
from analytics_query_api.selection import parse_model_ids


@get(
    f"{API_PREFIX}/orgs/{{orgId:uuid}}/freshness",
    opt={"action": Action.FRESHNESS_READ},
    tags=["freshness"],
    operation_id="getFreshness",
    summary="How current the numbers are",
    response_description="The freshness of the organisation and of each model",
    security=[{"bearer": []}],
    responses=NOT_MODIFIED | problem_responses(401, 403, 404, 422, 503),
)
async def get_freshness(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    reader: NamedDependency[Reader],
    freshness_cache: NamedDependency[FreshnessCache],
    model_id: Annotated[list[str] | None, MODEL_ID] = None,  # noqa: ARG001
) -> Response[FreshnessReport]:
    """`lagSeconds` 0: every accepted event is in the numbers. An organisation without events has status `unknown`."""
    model_ids = parse_model_ids(list(request.query_params.multi_items()))
    pipeline, models = await _facts(org_scope, reader, freshness_cache)
    return answer(request, freshness_report(org_scope, pipeline, models, model_ids, reader.clock()))


async def _facts(
    scope: OrgScope, reader: Reader, cache: FreshnessCache
) -> tuple[PipelineFacts, tuple[ModelFacts, ...]]:
    found = await cache.look_up(scope)
    if found.pipeline is not None and found.models is not None:
        FRESHNESS_CACHE_HITS.inc()
        return found.pipeline, found.models
    FRESHNESS_CACHE_MISSES.inc()
    async with reader.snapshot(scope) as session:
        pipeline, models = await pipeline_facts(session), await model_facts(session, scope)
    if found.generation is not None:
        await cache.store(scope, found.generation, pipeline, models)
    return pipeline, models
