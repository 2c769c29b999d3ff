"""The tables that answers are read from, as SQLAlchemy sees them: names and types, nothing is ever created."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import BigInteger, DateTime, Integer, SmallInteger, TableClause, Text, Uuid, column, table
from sqlalchemy.dialects.postgresql import ARRAY

from analytics_core.buckets import DAY, HOUR
from analytics_core.query.question import Dimension
from analytics_core.query.zones import QUARTER

_TIME: DateTime = DateTime(timezone=True)

COUNTS = ("invocations", "error_count", "timeout_count", "throttled_count")
"""Calls by outcome."""
SUMS = (*COUNTS, "input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens", "cost_microcents")
"""Everything that adds up to what users see."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table with one row for each cell and group; `width` is that of its cells."""

    table: str
    width: timedelta
    follows_model_fold: bool = False
    is_events: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """The tables that have the same dimensions, coarsest first."""

    name: str
    dimensions: frozenset[Dimension]
    sources: tuple[Source, ...]
    daily_complete: bool = False
    """Whether the daily table has every day; else only those before the family's progress."""

    def source(self, width: timedelta) -> Source | None:
        return next((source for source in self.sources if source.width == width), None)


_EVENTS = Source("visible_events", QUARTER, is_events=True)
_D = Dimension

# From few rows to many.
FAMILIES = (
    Family(
        "model",
        frozenset({_D.MODEL}),
        (
            Source("usage_daily", DAY, follows_model_fold=True),
            Source("usage_hourly", HOUR, follows_model_fold=True),
            Source("usage_quarter_hourly", QUARTER),
        ),
        daily_complete=True,
    ),
    Family(
        "detail",
        frozenset({_D.MODEL, _D.CLIENT, _D.PROJECT, _D.STATUS, _D.ERROR_CODE}),
        (Source("usage_detail_daily", DAY), Source("usage_detail_hourly", HOUR), _EVENTS),
    ),
    Family(
        "actor",
        frozenset({_D.ACTOR, _D.MODEL, _D.STATUS, _D.ERROR_CODE}),
        (Source("usage_actor_daily", DAY), Source("usage_actor_hourly", HOUR), _EVENTS),
    ),
    Family("events", frozenset(Dimension) - {_D.ORG}, (_EVENTS,)),
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
