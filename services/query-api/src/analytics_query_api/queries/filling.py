"""Points for buckets and groups without calls, so that a chart has no holes."""

from collections.abc import Sequence
from itertools import islice, product
from typing import Any

from analytics_core.errors import InvalidRequest
from analytics_core.query.statements import Position
from analytics_query_api.limits import FILL_GROUPS_MAX
from analytics_query_api.queries.page import Page
from analytics_query_api.queries.source import Source
from analytics_query_api.selection import Selection

_EMPTY: dict[str, object] = {"revised_at": None, "bins": None, "counts": None}


async def fill_page(source: Source, selection: Selection, page: Page) -> Page:
    """A point for each bucket of the range and each group that has calls in it, one more than the page has.

    Those given are the first ones with calls, as many: none that the page needs can lie behind them.
    """
    question, after = selection.question, selection.after
    groups = await _groups(source, selection)
    bounds = question.bounds()[:-1]
    if after is not None and after.bucket is not None:
        bounds = tuple(bound for bound in bounds if bound >= after.bucket)
    behind = _place(groups, after)
    keys = list(islice(product(bounds, groups), behind, behind + selection.limit + 1))
    found = {key: number for number, key in enumerate(page.keys())}
    places = [found.get((bucket, *group)) for bucket, group in keys]
    columns = {
        name: [_EMPTY.get(name, 0) if place is None else values[place] for place in places]
        for name, values in page.columns.items()
    }
    return Page(
        [bucket for bucket, _ in keys],
        tuple([group[place] for _, group in keys] for place in range(len(question.group_by))),
        columns,
    )


async def _groups(source: Source, selection: Selection) -> list[tuple[Any, ...]]:
    """The groups of the whole range, in the order of the series."""
    question = selection.question
    if not question.group_by:
        return [()]
    _, rows = await source.groups(question, ("invocations",), FILL_GROUPS_MAX + 1)
    if len(rows) > FILL_GROUPS_MAX:
        raise InvalidRequest.field("fill", f"more than {FILL_GROUPS_MAX} groups: filter, or group by less")
    return [tuple(row[:-1]) for row in rows]


def _place(groups: Sequence[tuple[Any, ...]], after: Position | None) -> int:
    """How many groups of the position's bucket are behind us."""
    if after is None:
        return 0
    names = [tuple(map(str, group)) for group in groups]
    if after.groups not in names:
        raise InvalidRequest.field("cursor", "the group that it points at has no calls any more: begin again")
    return names.index(after.groups) + 1
