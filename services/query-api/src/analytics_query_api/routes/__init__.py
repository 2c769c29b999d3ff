"""The HTTP API: what a caller may ask, one file a resource."""

from typing import Any

from analytics_query_api.routes.audit import get_audit, get_org_audit
from analytics_query_api.routes.dimensions import get_dimension_values
from analytics_query_api.routes.freshness import get_freshness
from analytics_query_api.routes.live import stream_usage, watch_usage
from analytics_query_api.routes.reliability import get_errors, get_reliability
from analytics_query_api.routes.usage import get_platform_usage, get_usage

ROUTES: list[Any] = [
    get_usage,
    get_platform_usage,
    stream_usage,
    watch_usage,
    get_reliability,
    get_errors,
    get_dimension_values,
    get_freshness,
    get_audit,
    get_org_audit,
]
