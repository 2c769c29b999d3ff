"""Builds the HTTP application of a service: routes, guard, errors, OpenAPI, status."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Litestar, Router
from litestar.config.compression import CompressionConfig
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, OpenAPI, OpenAPIResponse, SecurityScheme

from analytics_core.http.allowed_methods import options_of_shared_paths
from analytics_core.http.edge import Edge
from analytics_core.http.guards import (
    AccessGuard,
    AuditBarrier,
    check_routes_are_guarded,
    provide_decision,
    provide_org_decisions,
    provide_platform_scope,
    provide_scope,
)
from analytics_core.http.in_turn import provided_in_turn
from analytics_core.http.links import link_pages
from analytics_core.http.money import DecimalSchema
from analytics_core.http.problems import EXCEPTION_HANDLERS, MEDIA_TYPE
from analytics_core.http.rate_limits.headers import RateLimitHeaders, document_rate_limits
from analytics_core.http.status import STATUS_ROUTES
from analytics_core.lifecycle import Dependencies

API_PREFIX = "/analytics/v1"
API_VERSION = "1.0.0"
OPENAPI_PATH = "/openapi"
# Large enough for an export request; ingest, which takes batches of events, gives its own limit.
BODY_BYTES_MAX = 1_000_000
NOT_COMPRESSED = "not_compressed"
"""In `opt` of a route whose answer leaves piece by piece: a compressor would keep the pieces."""


def build_app(
    *,
    title: str,
    description: str,
    routes: Sequence[Any],
    guard: AccessGuard | None,
    dependencies: Dependencies,
    resources: Mapping[str, object],
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Litestar:
    """The Litestar application; serve it wrapped by `with_edge`.

    `resources` are handed to routes by parameter name (`NamedDependency[…]`). A service without a guard has only public
    routes.
    """
    app = Litestar(
        route_handlers=[*options_of_shared_paths(routes), *routes, *STATUS_ROUTES],
        guards=[guard] if guard is not None else [],
        middleware=[RateLimitHeaders, AuditBarrier],
        dependencies=provided_in_turn(
            {"dependencies": dependencies, **resources},
            {
                "decision": provide_decision,
                "org_scope": provide_scope,
                "org_decisions": provide_org_decisions,
                "platform_scope": provide_platform_scope,
            },
        ),
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=OpenAPIConfig(
            title=title,
            version=API_VERSION,
            description=description,
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            openapi_router=Router(path=OPENAPI_PATH, route_handlers=[], opt={"public": True}, include_in_schema=False),
            components=Components(
                security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
            ),
            use_handler_docstrings=True,
        ),
        plugins=[DecimalSchema()],
        compression_config=CompressionConfig(
            backend="gzip", minimum_size=1024, gzip_compress_level=1, exclude_opt_key=NOT_COMPRESSED
        ),
        request_max_body_size=body_bytes_max,
        logging_config=None,
        debug=False,
    )
    _drop_foreign_errors(app.openapi_schema)
    document_rate_limits(app.openapi_schema)
    link_pages(app.openapi_schema)
    check_routes_are_guarded(handler for route in app.routes for handler in getattr(route, "route_handlers", []))
    return app


def with_edge(app: Litestar) -> Any:
    """The application behind request ids, metrics, traces and request logs.

    An ASGI application: servers and test clients each have a type of their own for that.
    """
    return Edge(app)


def _drop_foreign_errors(schema: OpenAPI) -> None:
    """Litestar documents a 400 in its own format for every route with parameters; here that is a 422 problem."""
    for path in (schema.paths or {}).values():
        for operation in (path.get, path.put, path.post, path.patch, path.delete):
            responses = (operation.responses or {}) if operation else {}
            documented = responses.get("400")
            if isinstance(documented, OpenAPIResponse) and MEDIA_TYPE not in (documented.content or {}):
                del responses["400"]
