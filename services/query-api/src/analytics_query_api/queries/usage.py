"""Calls, tokens and cost: a page of the series, and the totals of the whole range."""

from functools import cache
from typing import Any

from sqlalchemy import func, select

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession
from analytics_query_api.queries.range import Shape, conditions, page, point_sums, shape_of, sums, values_of
from analytics_query_api.queries.run import Statement, compiled, fetch
from analytics_query_api.selection import Selection

MEASURES = (
    "invocations",
    "error_count",
    "timeout_count",
    "throttled_count",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_microcents",
)


async def usage_page(session: ReadSession, scope: OrgScope, selection: Selection) -> list[Any]:
    """The page's points in order, and one more when there is a next page."""
    values = values_of(scope, selection) | {"row_limit": selection.limit + 1}
    return await fetch(session, _page(shape_of(selection, page=True)), values)


async def usage_totals(session: ReadSession, scope: OrgScope, selection: Selection) -> Any:
    """One row over the whole range, whatever the page; zeros where there is nothing."""
    rows = await fetch(session, _totals(shape_of(selection, page=False)), values_of(scope, selection))
    return rows[0]


@cache
def _page(shape: Shape) -> Statement:
    revised_at = shape.rollup.c.revised_at
    last_revised = revised_at if shape.by_model else func.max(revised_at).label("revised_at")
    return compiled(page(shape, [*point_sums(shape, (*MEASURES, "revision")), last_revised]))


@cache
def _totals(shape: Shape) -> Statement:
    return compiled(select(*sums(shape, MEASURES)).where(*conditions(shape)))
