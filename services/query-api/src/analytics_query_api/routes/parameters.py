"""The query parameters that usage and reliability share, as the contract shows them.

They are declared for the contract and read from the query string by `parse_selection`, which knows what the framework
does not: a parameter given twice, one that does not exist, and all problems at once.
"""

from typing import Annotated, Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from analytics_core.access import OrgScope
from analytics_query_api.limits import (
    CURSOR_CHARACTERS_MAX,
    MODEL_ID_CHARACTERS_MAX,
    MODEL_IDS_MAX,
    PAGE_POINTS_DEFAULT,
    PAGE_POINTS_MAX,
    RANGE_MAX,
)
from analytics_query_api.periods import Granularity
from analytics_query_api.selection import GROUP_BY_MODEL, UTC_NAME, Selection, parse_selection


def _parameter(name: str, schema: dict[str, Any], description: str, *, required: bool = False) -> QueryParameter:
    # The declared Python types are wider than the contract: what arrives is checked by parse_selection.
    return QueryParameter(
        name=name, description=description, required=required, schema_extra={"one_of": None, **schema}
    )


_START = _parameter(
    "start",
    {"type": "string", "format": "date-time", "examples": ["2026-03-01T00:00:00Z"]},
    "RFC 3339 time with an offset. The answer has the whole buckets that start in [start, end), so neither needs to "
    "lie on the border of one.",
    required=True,
)
_END = _parameter(
    "end",
    {"type": "string", "format": "date-time", "examples": ["2026-03-08T00:00:00Z"]},
    f"RFC 3339 time with an offset, exclusive. At most {RANGE_MAX[Granularity.HOUR].days} days after start by hour, "
    f"{RANGE_MAX[Granularity.DAY].days} by day.",
    required=True,
)
_GRANULARITY = _parameter(
    "granularity",
    {"type": "string", "enum": [item.value for item in Granularity], "default": Granularity.HOUR.value},
    "The width of a bucket.",
)
_TIMEZONE = _parameter(
    "timezone",
    {"type": "string", "enum": [UTC_NAME], "default": UTC_NAME},
    "Where days begin; only UTC is supported.",
)
MODEL_ID = _parameter(
    "modelId",
    {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": MODEL_ID_CHARACTERS_MAX, "pattern": "^[^\\u0000]+$"},
        "maxItems": MODEL_IDS_MAX,
    },
    "Only these models; repeat the parameter for several. All models without it.",
)
_GROUP_BY = _parameter(
    "groupBy", {"type": "string", "enum": [GROUP_BY_MODEL]}, "One point for each model and bucket, with its modelId."
)
_LIMIT = _parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": PAGE_POINTS_MAX, "default": PAGE_POINTS_DEFAULT},
    "Most points in the answer.",
)
_CURSOR = _parameter(
    "cursor",
    {"type": "string", "maxLength": CURSOR_CHARACTERS_MAX},
    "`nextCursor` of the page before; it holds for the same query only, limit aside.",
)


def provide_selection(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    start: Annotated[str | None, _START] = None,  # noqa: ARG001
    end: Annotated[str | None, _END] = None,  # noqa: ARG001
    granularity: Annotated[str | None, _GRANULARITY] = None,  # noqa: ARG001
    timezone: Annotated[str | None, _TIMEZONE] = None,  # noqa: ARG001
    model_id: Annotated[list[str] | None, MODEL_ID] = None,  # noqa: ARG001
    group_by: Annotated[str | None, _GROUP_BY] = None,  # noqa: ARG001
    limit: Annotated[str | None, _LIMIT] = None,  # noqa: ARG001
    cursor: Annotated[str | None, _CURSOR] = None,  # noqa: ARG001
) -> Selection:
    """Dependency: what was asked for. Raises `InvalidRequest` that names every parameter at fault."""
    report = str(getattr(request.route_handler, "operation_id", ""))
    return parse_selection(list(request.query_params.multi_items()), org_scope, report)
