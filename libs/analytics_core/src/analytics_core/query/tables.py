"""The tables that answers are read from, coarsest grain first, and as SQLAlchemy sees them: nothing is ever created."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import BigInteger, DateTime, Integer, SmallInteger, TableClause, Text, Uuid, column, table
from sqlalchemy.dialects.postgresql import ARRAY

from analytics_core import families
from analytics_core.families import MEASURES, QUARTER
from analytics_core.query.question import Dimension

_TIME: DateTime = DateTime(timezone=True)

COUNTS = MEASURES[:4]
"""Calls by outcome."""
SUMS = MEASURES
"""Everything that adds up to what users see."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table with one row for each cell and group; `width` is that of its cells."""

    table: str
    width: timedelta
    follows_model_fold: bool = False
    is_events: bool = False

    @property
    def stored_in(self) -> str:
        """The table that retention drops its rows of."""
        return "usage_events" if self.is_events else self.table


@dataclass(frozen=True, slots=True)
class Family:
    """The tables that have the same dimensions, coarsest first."""

    name: str
    dimensions: frozenset[Dimension]
    sources: tuple[Source, ...]
    daily_complete: bool = False
    """Whether the daily table has every day; else only those before the family's progress."""

    @property
    def counts_events(self) -> bool:
        """Whether some of a range may have to be counted from single events; else a table has every quarter."""
        return any(source.is_events for source in self.sources)

    def source(self, width: timedelta) -> Source | None:
        return next((source for source in self.sources if source.width == width), None)


_EVENTS = Source("visible_events", QUARTER, is_events=True)
"""Events as what no table has: they can be cut anywhere."""


def _family(rollups: families.Family, finest: Source) -> Family:
    follows = rollups.watermark == families.MODEL_WATERMARK
    tables = (Source(rollup.table, rollup.width, follows) for rollup in reversed(rollups.rollups))
    dimensions = frozenset(item for item in Dimension if item.column in rollups.dimensions)
    return Family(rollups.name, dimensions, (*tables, finest), daily_complete=not rollups.closed_days)


# From few rows to many; the last one has everything.
FAMILIES = (
    _family(families.MODEL, Source(families.QUARTERS.fine.table, QUARTER)),
    _family(families.DETAIL, _EVENTS),
    _family(families.ACTOR, _EVENTS),
    Family("events", frozenset(Dimension) - {Dimension.ORG}, (_EVENTS,)),
)


def rollup(name: str, dimensions: frozenset[Dimension]) -> TableClause:
    """A rollup table with these dimensions."""
    return table(
        name,
        column("org_id", Uuid),
        column("bucket_start", _TIME),
        *(column(dimension.column, Text) for dimension in sorted(dimensions)),
        *(column(name, BigInteger) for name in SUMS),
        column("latency_bins", ARRAY(SmallInteger)),
        column("latency_counts", ARRAY(BigInteger)),
        column("first_event_at", _TIME),
        column("last_event_at", _TIME),
        column("revision", Integer),
        column("revised_at", _TIME),
        schema="analytics",
    )
