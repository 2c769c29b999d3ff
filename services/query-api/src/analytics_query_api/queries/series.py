"""A page of a series, the totals of its whole range, and those of the period before, from one snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession
from analytics_core.query.question import Dimension
from analytics_core.query.tables import COUNTS, SUMS
from analytics_query_api.freshness import Freshness
from analytics_query_api.queries.filling import fill_page
from analytics_query_api.queries.freshness import organisations, read_state
from analytics_query_api.queries.page import Page
from analytics_query_api.queries.source import Source
from analytics_query_api.selection import Scope, Selection

USAGE = SUMS
HISTOGRAM = ("bins", "counts")
RELIABILITY = (*COUNTS, *HISTOGRAM)
USAGE_POINT = (*SUMS, "revision", "revised_at")
RELIABILITY_POINT = (*COUNTS, "revision", "bins", "counts")


Points = TypeVar("Points", Page, msgspec.Raw)
"""A page to make points of, or all points of the series as they stand in an answer."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Points]):
    """Points (one more than the page has where there is a next one), rows of totals, and how fresh they are."""

    points: Points
    totals: Any
    previous: Any | None
    freshness: Freshness


async def read_series(
    session: ReadSession,
    scope: Scope,
    selection: Selection,
    now: datetime,
    points: tuple[str, ...],
    totals: tuple[str, ...],
) -> Answer[Page]:
    """The answer for a selection; raises `InvalidRequest` where more groups would have to be filled than may be."""
    state = await read_state(session, scope, now)
    source = Source(session, await _visible(session, scope, selection), state)
    question = selection.question
    plan, page = await source.page(question, points, selection.after, selection.limit + 1)
    if selection.fill:
        page = await fill_page(source, selection, page)
    ungrouped = question.grouped_by()
    if selection.after is None and len(page) <= selection.limit:
        # The page is the whole series: its sum is the total, in no time.
        total_plan, total = plan, added_up(page, totals)
    else:
        total_plan, total = await source.total(ungrouped, totals)
    previous = (await source.total(ungrouped.previous(), totals, "compare"))[1] if selection.compare else None
    return Answer(page, total, previous, state.freshness(plan, total_plan))


def added_up(page: Page, names: tuple[str, ...]) -> dict[str, Any]:
    """The sums of a page's numbers, and its histograms one after the other."""
    columns = page.columns
    return {
        name: b"".join(part for part in columns[name] if part) if name in HISTOGRAM else sum(columns[name])
        for name in names
    }


async def _visible(session: ReadSession, scope: Scope, selection: Selection) -> OrgScope | Sequence[UUID]:
    if isinstance(scope, OrgScope):
        return scope
    wanted = dict(selection.question.filters).get(Dimension.ORG)
    return [UUID(org_id) for org_id in wanted] if wanted else await organisations(session, scope)
