"""The rollup families: which tables answer which questions. rollup fills them, query-api and export read them.

Every table has a row for each organisation, bucket and combination of its family's dimensions, with the same measures
and a latency histogram. Absent values are stored as ''.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from analytics_core.buckets import DAY, HOUR

QUARTER = timedelta(minutes=15)

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
"""Columns of every table that add up; beside them `latency_bins` and `latency_counts`, see `histogram`."""

MODEL_WATERMARK = "analytics.watermark()"
DIMENSIONS_WATERMARK = "analytics.dimensions_watermark()"


@dataclass(frozen=True, slots=True)
class Rollup:
    """One table in the schema `analytics`, and how wide its buckets are (UTC)."""

    table: str
    width: timedelta


@dataclass(frozen=True, slots=True)
class Family:
    """`watermark` is the SQL expression for the time before which everything accepted is in the family.

    `daily` is None where days come from another family. With `closed_days`, it has the days before
    `analytics.rollup_progress.daily_through` alone: later ones are to be read from `fine`.
    """

    name: str
    dimensions: tuple[str, ...]
    fine: Rollup
    daily: Rollup | None
    watermark: str
    closed_days: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns after organisation and bucket that say what a row is about."""
        return ("series", *self.dimensions) if len(self.dimensions) > 1 else self.dimensions

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key of the tables; several dimensions are in it as their hash, `analytics.series()`."""
        return ("org_id", "bucket_start", self.columns[0])

    @property
    def rollups(self) -> tuple[Rollup, ...]:
        """Its tables, the fine one first."""
        return (self.fine, self.daily) if self.daily else (self.fine,)


MODEL = Family("model", ("model_id",), Rollup("usage_hourly", HOUR), Rollup("usage_daily", DAY), MODEL_WATERMARK)
DETAIL = Family(
    "detail",
    ("model_id", "client_id", "project", "status", "error_code"),
    Rollup("usage_detail_hourly", HOUR),
    Rollup("usage_detail_daily", DAY),
    DIMENSIONS_WATERMARK,
    closed_days=True,
)
ACTOR = Family(
    "actor",
    ("actor_id", "model_id", "status", "error_code"),
    Rollup("usage_actor_hourly", HOUR),
    Rollup("usage_actor_daily", DAY),
    DIMENSIONS_WATERMARK,
    closed_days=True,
)
QUARTERS = Family("quarter", ("model_id",), Rollup("usage_quarter_hourly", QUARTER), None, DIMENSIONS_WATERMARK)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (MODEL, DETAIL, ACTOR, QUARTERS)})
