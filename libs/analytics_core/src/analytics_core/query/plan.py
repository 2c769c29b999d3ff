"""Which rows hold each event of a range exactly once: those of the smallest family, in its largest grains.

A range is cut at the bounds of the wanted buckets. Whole UTC days come from a daily table, whole hours from an hourly
one, the rest from quarters of an hour or from the events; what a bound cuts in two is left to the next finer grain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from analytics_core.buckets import DAY, HOUR
from analytics_core.families import QUARTER
from analytics_core.query.question import Dimension, Question
from analytics_core.query.tables import FAMILIES, Family, Source
from analytics_core.query.zones import Granularity, ceil, floor, has_whole_hours

EVENTS_RANGE_MAX = timedelta(days=7, hours=1)
"""Events are read one by one: about 1 µs each, and a large organisation has a million a day. A week in which clocks go
back has an hour more than seven days."""

Span = tuple[datetime, datetime]


class NotCovered(ValueError):
    """The rollups do not have these dimensions together, and the range is too long to count events."""


class Cells(StrEnum):
    """Which cells of its table a part takes from its span."""

    ALL = "all"
    LISTED = "listed"
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table from [start, end): all, those of the listed cells, or those of the others.

    Events have no cells: of them, those in the listed spans.
    """

    source: Source
    start: datetime
    end: datetime
    cells: Cells = Cells.ALL
    listed: tuple[datetime, ...] = ()
    listed_ends: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts to add up, none where the question has no bucket.

    `bounds` are the buckets that rows are sorted into. Without them each cell is a bucket of its own, or, for a total,
    everything is one.
    """

    family: Family
    parts: tuple[Part, ...]
    bounds: tuple[datetime, ...] | None = None

    def is_plain(self, group_by: Sequence[Dimension]) -> bool:
        """Whether a point of the series is a row of a table as it is, so that nothing has to be added up."""
        one_table = len(self.parts) == 1 and self.parts[0].cells is Cells.ALL
        return one_table and self.bounds is None and frozenset(group_by) == self.family.dimensions

    @property
    def follows_model_fold(self) -> bool:
        """Whether the answer is as fresh as the rollup by model; else it is as fresh as the other families."""
        return all(part.source.follows_model_fold for part in self.parts)

    def kept_since(self, dropped: Mapping[str, datetime]) -> datetime | None:
        """The time from which on everything is there, when retention has dropped some of what it reads; else None.

        `dropped` says of each table before which time it has lost its rows.
        """
        lost = ((part.start, dropped.get(part.source.stored_in)) for part in self.parts)
        return max((before for start, before in lost if before and start < before), default=None)


Progress = dict[str, datetime | None]
"""The end of the UTC days that the daily table of a family has, by the family's name."""


def plan_series(question: Question, progress: Progress, since: datetime | None = None) -> Plan:
    """The plan for the buckets of a series, or for those that start at `since` or later. Raises `NotCovered`."""
    bounds = tuple(bound for bound in question.bounds() if since is None or bound >= since)
    family = family_for(question)
    if len(bounds) < 2:
        return Plan(family, ())
    width = {Granularity.HOUR: HOUR, Granularity.DAY: DAY}.get(question.granularity)
    if width == HOUR and has_whole_hours(question.zone, bounds[0], bounds[-1]):
        # No hour is cut: the two ends say it all.
        parts = _covered(family, [bounds[0], bounds[-1]], [HOUR, QUARTER], progress)
    else:
        parts = _covered(family, bounds, [HOUR, QUARTER] if width == HOUR else [DAY, HOUR, QUARTER], progress)
    cells_are_buckets = all(part.source.width == width for part in parts)
    return Plan(family, parts, None if cells_are_buckets else bounds)


def plan_total(question: Question, progress: Progress) -> Plan:
    """The plan for all buckets of the question as one. Raises `NotCovered`."""
    bounds, family = question.bounds(), family_for(question)
    if not bounds:
        return Plan(family, ())
    return Plan(family, _covered(family, [bounds[0], bounds[-1]], [DAY, HOUR, QUARTER], progress))


def family_for(question: Question) -> Family:
    """The smallest family that has the dimensions; the last one, the events, has them all."""
    wanted = question.dimensions()
    return next(family for family in FAMILIES if wanted <= family.dimensions)


def _covered(
    family: Family, bounds: Sequence[datetime], widths: Sequence[timedelta], progress: Progress
) -> tuple[Part, ...]:
    """The parts from the first bound to the last, with the daily table as far as it goes."""
    first, last = bounds[0], bounds[-1]
    through = last if family.daily_complete else min(progress.get(family.name) or first, last)
    finer = [width for width in widths if width < DAY]
    if DAY not in widths or through <= first:
        return _parts(family, bounds, finer)
    if through >= last:
        return _parts(family, bounds, widths)
    closed = [*(bound for bound in bounds if bound < through), through]
    opened = [through, *(bound for bound in bounds if bound > through)]
    return _parts(family, closed, widths) + _parts(family, opened, finer)


def _parts(family: Family, bounds: Sequence[datetime], widths: Sequence[timedelta]) -> tuple[Part, ...]:
    parts: list[Part] = []
    gaps: list[Span] = [(bounds[0], bounds[-1])]
    for width in widths:
        source = family.source(width)
        if source is not None and not source.is_events:
            cut = sorted({floor(bound, width) for bound in bounds if floor(bound, width) != bound})
            part, gaps = _take(source, gaps, cut)
            parts += [part] if part else []
    if gaps:
        parts.append(_events_part(family.source(QUARTER), gaps))
    return tuple(parts)


def _take(source: Source, gaps: Sequence[Span], cut: Sequence[datetime]) -> tuple[Part | None, list[Span]]:
    """The cells of a table that lie in the gaps whole and uncut, and the gaps that stay."""
    width = source.width
    cells: list[tuple[datetime, datetime, list[datetime]]] = []
    left: list[Span] = []
    for start, end in gaps:
        low, high = ceil(start, width), floor(end, width)
        if low >= high:
            left.append((start, end))
            continue
        inside = [cell for cell in cut if low <= cell < high]
        cells.append((low, high, inside))
        left += [(start, low), *((cell, cell + width) for cell in inside), (high, end)]
    whole = sum((high - low) // width - len(inside) for low, high, inside in cells)
    if not whole:
        return None, list(gaps)
    if len(cells) == 1:
        low, high, inside = cells[0]
        kind = Cells.OTHERS if inside else Cells.ALL
        return Part(source, low, high, kind, tuple(inside)), _joined(left)
    listed = [
        low + number * width
        for low, high, inside in cells
        for number in range((high - low) // width)
        if low + number * width not in inside
    ]
    return Part(source, listed[0], listed[-1] + width, Cells.LISTED, tuple(listed)), _joined(left)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """The spans in order without empty ones; those that touch become one."""
    joined: list[Span] = []
    for start, end in spans:
        if start < end and joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        elif start < end:
            joined.append((start, end))
    return joined


def _events_part(events: Source | None, gaps: Sequence[Span]) -> Part:
    """What no table has, from the events; the rollups by model have everything on quarters of an hour."""
    total = sum((end - start for start, end in gaps), timedelta())
    if events is None or total > EVENTS_RANGE_MAX:
        raise NotCovered(f"counted from single events: at most {EVENTS_RANGE_MAX.days} days of them")
    starts, ends = zip(*gaps, strict=True)
    return Part(events, starts[0], ends[-1], Cells.LISTED, starts, ends)
