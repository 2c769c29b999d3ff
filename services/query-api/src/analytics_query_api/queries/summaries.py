"""Groups of a whole range, without buckets: where failures come from, which values a dimension has."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession
from analytics_core.query.shape import Order
from analytics_core.query.tables import COUNTS
from analytics_query_api.freshness import Freshness
from analytics_query_api.queries.freshness import read_state
from analytics_query_api.queries.source import Source
from analytics_query_api.selection import Selection


async def read_errors(
    session: ReadSession, scope: OrgScope, selection: Selection, now: datetime
) -> tuple[Sequence[Any], Any, Freshness]:
    """The page's groups with most failed calls first, one more where there is a next page, and the sum of all."""
    state = await read_state(session, scope, now)
    source = Source(session, scope, state)
    plan, rows = await source.groups(
        selection.question,
        (*COUNTS, "first_event_at", "last_event_at"),
        selection.limit + 1,
        order=Order.FAILED,
        after=selection.after,
    )
    total_plan, totals = await source.total(selection.question.grouped_by(), COUNTS)
    return rows, totals, state.freshness(plan, total_plan)


async def read_values(
    session: ReadSession, scope: OrgScope, selection: Selection, now: datetime
) -> tuple[Sequence[Any], Freshness]:
    """The page's values in order, one more where there is a next page."""
    state = await read_state(session, scope, now)
    source = Source(session, scope, state)
    columns = ("invocations", "last_event_at")
    plan, rows = await source.groups(selection.question, columns, selection.limit + 1, after=selection.after)
    return rows, state.freshness(plan)
