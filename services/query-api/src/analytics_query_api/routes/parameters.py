"""The query parameters as the contract shows them.

They are declared for the contract and read from the query string by `selection`, which knows what the framework does
not: a parameter given twice, one that does not exist, and all problems at once.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from analytics_core.access import OrgScope, PlatformScope
from analytics_core.query.question import Dimension
from analytics_core.query.zones import Granularity
from analytics_query_api.limits import (
    CURSOR_CHARACTERS_MAX,
    FILTER_VALUES_MAX,
    PAGE_ENTRIES_DEFAULT,
    PAGE_ENTRIES_MAX,
    PAGE_POINTS_DEFAULT,
    PAGE_POINTS_MAX,
    PLATFORM_RANGE_MAX,
    RANGE_MAX,
    SUMMARY_RANGE_MAX,
    VALUE_CHARACTERS_MAX,
)
from analytics_query_api.selection import (
    ERRORS_GROUPED,
    STATUSES,
    Selection,
    parse_errors,
    parse_series,
)

GROUPS = [item.value for item in Dimension if item is not Dimension.ORG]


def _parameter(name: str, schema: dict[str, Any], description: str, *, required: bool = False) -> QueryParameter:
    # The declared Python types are wider than the contract: what arrives is checked by `selection`.
    return QueryParameter(
        name=name, description=description, required=required, schema_extra={"one_of": None, **schema}
    )


def _values(name: str, what: str) -> QueryParameter:
    items = {"type": "string", "minLength": 1, "maxLength": VALUE_CHARACTERS_MAX, "pattern": "^[^\\u0000]+$"}
    return _parameter(
        name,
        {"type": "array", "items": items, "maxItems": FILTER_VALUES_MAX},
        f"Only calls of these {what}; repeat the parameter for several.",
    )


_FROM_EVENTS = (
    "Combinations that have actor together with client or project are counted from single events, over seven days at "
    "most."
)


def grouping(names: list[str], default: str | None = None, more: str = _FROM_EVENTS) -> QueryParameter:
    one = f"({'|'.join(names)})"
    schema = {"type": "string", "pattern": f"^{one}(,{one})*$", "examples": [",".join(names[:2])]}
    return _parameter(
        "groupBy",
        schema | ({"default": default} if default else {}),
        f"One or more of {', '.join(names)}, separated by commas: one point for each combination. {more}",
    )


def _whole_number(name: str, most: int, default: int, description: str) -> QueryParameter:
    return _parameter(name, {"type": "integer", "minimum": 1, "maximum": most, "default": default}, description)


START = _parameter(
    "start",
    {"type": "string", "format": "date-time", "examples": ["2026-03-01T00:00:00Z"]},
    "RFC 3339 time with an offset, from 2000 to 2100. The answer has the whole buckets that start in [start, end), so "
    "neither needs to lie on the border of one; a range in which none starts is refused.",
    required=True,
)


def _end(range_max: str) -> QueryParameter:
    return _parameter(
        "end",
        {"type": "string", "format": "date-time", "examples": ["2026-03-08T00:00:00Z"]},
        f"RFC 3339 time with an offset, exclusive. At most {range_max}.",
        required=True,
    )


def _series_end(range_max: Mapping[Granularity, timedelta]) -> QueryParameter:
    hours, days, months = (range_max[width].days for width in (Granularity.HOUR, Granularity.DAY, Granularity.MONTH))
    return _end(f"{hours} days after start by hour, {days} by day, {months} by month")


_END = _series_end(RANGE_MAX)
_PLATFORM_END = _series_end(PLATFORM_RANGE_MAX)
SUMMARY_END = _end(f"{SUMMARY_RANGE_MAX.days} days after start")
_GRANULARITY = _parameter(
    "granularity",
    {"type": "string", "enum": [item.value for item in Granularity], "default": Granularity.HOUR.value},
    "The width of a bucket.",
)
_TIMEZONE = _parameter(
    "timezone",
    {"type": "string", "default": "UTC", "examples": ["Europe/Berlin", "Asia/Kolkata"]},
    "IANA name of the zone whose hours, days or months the buckets are.",
)
ORG_ID = _parameter(
    "orgId",
    {"type": "array", "items": {"type": "string", "format": "uuid"}, "maxItems": FILTER_VALUES_MAX},
    "Only these organisations; repeat the parameter for several.",
)
MODEL_ID = _values("modelId", "models")
CLIENT_ID = _values("clientId", "clients")
ACTOR_ID = _values("actorId", "actors")
ERROR_CODE = _values("errorCode", "error codes")
PROJECT = _values("project", "projects")
STATUS = _parameter(
    "status",
    {"type": "array", "items": {"type": "string", "enum": list(STATUSES)}, "maxItems": FILTER_VALUES_MAX},
    "Only calls with these outcomes; repeat the parameter for several.",
)
_GROUP_BY = grouping(GROUPS)
_GROUP_BY_OR_ORG = grouping([item.value for item in Dimension])
_GROUP_ERRORS_BY = grouping(GROUPS, default=",".join(ERRORS_GROUPED))
_FILL = _parameter("fill", {"type": "string", "enum": ["zero"]}, "Points for buckets (and groups) without calls, too.")
_COMPARE = _parameter(
    "compare", {"type": "string", "enum": ["previous"]}, "Add the totals of as many buckets right before the range."
)
_LIMIT = _whole_number("limit", PAGE_POINTS_MAX, PAGE_POINTS_DEFAULT, "Most points in the answer.")
LIMIT_ENTRIES = _whole_number("limit", PAGE_ENTRIES_MAX, PAGE_ENTRIES_DEFAULT, "Most entries in the answer.")
CURSOR = _parameter(
    "cursor",
    {"type": "string", "maxLength": CURSOR_CHARACTERS_MAX},
    "`nextCursor` of the page before; it holds for the same query only, limit aside.",
)


def _report(request: Request[Any, Any, Any]) -> str:
    return str(getattr(request.route_handler, "operation_id", ""))


def provide_series(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    start: Annotated[str | None, START] = None,  # noqa: ARG001
    end: Annotated[str | None, _END] = None,  # noqa: ARG001
    granularity: Annotated[str | None, _GRANULARITY] = None,  # noqa: ARG001
    timezone: Annotated[str | None, _TIMEZONE] = None,  # noqa: ARG001
    model_id: Annotated[list[str] | None, MODEL_ID] = None,  # noqa: ARG001
    client_id: Annotated[list[str] | None, CLIENT_ID] = None,  # noqa: ARG001
    actor_id: Annotated[list[str] | None, ACTOR_ID] = None,  # noqa: ARG001
    status: Annotated[list[str] | None, STATUS] = None,  # noqa: ARG001
    error_code: Annotated[list[str] | None, ERROR_CODE] = None,  # noqa: ARG001
    project: Annotated[list[str] | None, PROJECT] = None,  # noqa: ARG001
    group_by: Annotated[str | None, _GROUP_BY] = None,  # noqa: ARG001
    fill: Annotated[str | None, _FILL] = None,  # noqa: ARG001
    compare: Annotated[str | None, _COMPARE] = None,  # noqa: ARG001
    limit: Annotated[str | None, _LIMIT] = None,  # noqa: ARG001
    cursor: Annotated[str | None, CURSOR] = None,  # noqa: ARG001
) -> Selection:
    """Dependency: the series that was asked for. Raises `InvalidRequest` that names every parameter at fault."""
    return parse_series(list(request.query_params.multi_items()), org_scope, _report(request))


def provide_platform_series(
    request: Request[Any, Any, Any],
    platform_scope: NamedDependency[PlatformScope],
    start: Annotated[str | None, START] = None,  # noqa: ARG001
    end: Annotated[str | None, _PLATFORM_END] = None,  # noqa: ARG001
    granularity: Annotated[str | None, _GRANULARITY] = None,  # noqa: ARG001
    timezone: Annotated[str | None, _TIMEZONE] = None,  # noqa: ARG001
    org_id: Annotated[list[str] | None, ORG_ID] = None,  # noqa: ARG001
    model_id: Annotated[list[str] | None, MODEL_ID] = None,  # noqa: ARG001
    client_id: Annotated[list[str] | None, CLIENT_ID] = None,  # noqa: ARG001
    actor_id: Annotated[list[str] | None, ACTOR_ID] = None,  # noqa: ARG001
    status: Annotated[list[str] | None, STATUS] = None,  # noqa: ARG001
    error_code: Annotated[list[str] | None, ERROR_CODE] = None,  # noqa: ARG001
    project: Annotated[list[str] | None, PROJECT] = None,  # noqa: ARG001
    group_by: Annotated[str | None, _GROUP_BY_OR_ORG] = None,  # noqa: ARG001
    fill: Annotated[str | None, _FILL] = None,  # noqa: ARG001
    compare: Annotated[str | None, _COMPARE] = None,  # noqa: ARG001
    limit: Annotated[str | None, _LIMIT] = None,  # noqa: ARG001
    cursor: Annotated[str | None, CURSOR] = None,  # noqa: ARG001
) -> Selection:
    """Dependency: the series over organisations that was asked for."""
    return parse_series(list(request.query_params.multi_items()), platform_scope, _report(request))


def provide_errors(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    start: Annotated[str | None, START] = None,  # noqa: ARG001
    end: Annotated[str | None, SUMMARY_END] = None,  # noqa: ARG001
    model_id: Annotated[list[str] | None, MODEL_ID] = None,  # noqa: ARG001
    client_id: Annotated[list[str] | None, CLIENT_ID] = None,  # noqa: ARG001
    actor_id: Annotated[list[str] | None, ACTOR_ID] = None,  # noqa: ARG001
    status: Annotated[list[str] | None, STATUS] = None,  # noqa: ARG001
    error_code: Annotated[list[str] | None, ERROR_CODE] = None,  # noqa: ARG001
    project: Annotated[list[str] | None, PROJECT] = None,  # noqa: ARG001
    group_by: Annotated[str | None, _GROUP_ERRORS_BY] = None,  # noqa: ARG001
    limit: Annotated[str | None, LIMIT_ENTRIES] = None,  # noqa: ARG001
    cursor: Annotated[str | None, CURSOR] = None,  # noqa: ARG001
) -> Selection:
    """Dependency: the attribution that was asked for."""
    return parse_errors(list(request.query_params.multi_items()), org_scope, _report(request))
