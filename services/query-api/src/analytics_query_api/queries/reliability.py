"""Outcomes and latencies: a page of the series, and the totals of the whole range."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Integer, LargeBinary, func, literal_column, select

from analytics_core.access import OrgScope
from analytics_core.buckets import DAY
from analytics_core.database import ReadSession
from analytics_query_api.latencies import EncodedHistogram
from analytics_query_api.periods import Granularity
from analytics_query_api.queries.range import Shape, conditions, page, point_sums, shape_of, sums, values_of
from analytics_query_api.queries.run import Statement, compiled, fetch
from analytics_query_api.selection import Selection

OUTCOMES = ("invocations", "error_count", "timeout_count", "throttled_count")
# `array_send` writes 20 bytes before them: dimensions, flags, type, and the bounds of the one dimension.
_FIRST_ELEMENT = literal_column("21", Integer)


async def reliability_page(session: ReadSession, scope: OrgScope, selection: Selection) -> list[Any]:
    """The page's points in order with their histograms, and one more when there is a next page."""
    values = values_of(scope, selection) | {"row_limit": selection.limit + 1}
    return await fetch(session, _page(shape_of(selection, page=True)), values)


async def reliability_totals(session: ReadSession, scope: OrgScope, selection: Selection) -> Any:
    """One row of counts over the whole range, whatever the page; zeros where there is nothing."""
    rows = await fetch(session, _totals(shape_of(selection, page=False)), values_of(scope, selection))
    return rows[0]


async def range_histograms(session: ReadSession, scope: OrgScope, selection: Selection) -> list[EncodedHistogram]:
    """The histograms of the whole range.

    Whole days come from the daily rollup, which a fold writes in the same transaction as the hours: a 24th of the rows.
    """
    shape, found = shape_of(selection, page=False), []
    for granularity, start, end in cover(selection.granularity, selection.start, selection.end):
        values = values_of(scope, selection) | {"range_start": start, "range_end": end}
        part = Shape(granularity, by_model=False, filtered=shape.filtered, continued=False)
        found += [(row["bins"], row["counts"]) for row in await fetch(session, _histograms(part), values)]
    return found


def cover(granularity: Granularity, start: datetime, end: datetime) -> list[tuple[Granularity, datetime, datetime]]:
    """The buckets that start in [start, end), each hour once, as ranges of the coarsest rollup that fits."""
    if granularity is Granularity.DAY:
        return [(granularity, start, end)]
    first_midnight, last_midnight = start + (-_since_midnight(start)) % DAY, end - _since_midnight(end)
    if first_midnight >= last_midnight:
        return [(granularity, start, end)]
    parts = [
        (Granularity.HOUR, start, first_midnight),
        (Granularity.DAY, first_midnight, last_midnight),
        (Granularity.HOUR, last_midnight, end),
    ]
    return [part for part in parts if part[1] < part[2]]


def _since_midnight(time: datetime) -> timedelta:
    return time - time.replace(hour=0, minute=0, second=0, microsecond=0)


@cache
def _page(shape: Shape) -> Statement:
    histograms = _elements(shape) if shape.by_model else _elements_of_models(shape)
    return compiled(page(shape, [*point_sums(shape, (*OUTCOMES, "revision")), *histograms]))


@cache
def _totals(shape: Shape) -> Statement:
    return compiled(select(*sums(shape, OUTCOMES)).where(*conditions(shape)))


@cache
def _histograms(shape: Shape) -> Statement:
    return compiled(select(*_elements(shape)).where(*conditions(shape)))


def _elements(shape: Shape) -> list[ColumnElement[Any]]:
    """The arrays' elements as bytes: a driver that builds lists of numbers takes as long as the query itself."""
    columns = {"bins": shape.rollup.c.latency_bins, "counts": shape.rollup.c.latency_counts}
    return [
        func.substr(func.array_send(array, type_=LargeBinary), _FIRST_ELEMENT).label(name)
        for name, array in columns.items()
    ]


def _elements_of_models(shape: Shape) -> list[ColumnElement[Any]]:
    """Those of all models of a bucket, one after the other; both aggregates see the models in the same order."""
    nothing = literal_column("''::bytea", type_=LargeBinary)
    return [func.string_agg(elements, nothing).label(elements.name) for elements in _elements(shape)]
