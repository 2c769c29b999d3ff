"""What the API answers with. Field names and meanings are the contract; the docstrings end up in it."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from analytics_query_api.freshness import Freshness, FreshnessStatus
from analytics_query_api.latencies import LatencyPercentiles
from analytics_query_api.periods import Granularity


class Confidence(StrEnum):
    """finalized: everything accepted up to 15 minutes after the bucket's end is in. estimated: more may come."""

    ESTIMATED = "estimated"
    FINALIZED = "finalized"


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


# msgspec structs have one base, so points and totals both spell their numbers out.
class _Point(_Answer, frozen=True, kw_only=True):
    bucket_start: datetime
    model_id: str | msgspec.UnsetType = msgspec.UNSET
    invocations: int
    success_count: int
    error_count: int
    timeout_count: int
    throttled_count: int
    confidence: Confidence
    revision: int


class _Totals(_Answer, frozen=True, kw_only=True):
    invocations: int
    success_count: int
    error_count: int
    timeout_count: int
    throttled_count: int
    confidence: Confidence


class _Report(_Answer, frozen=True, kw_only=True):
    org_id: UUID
    granularity: Granularity
    timezone: str
    start: datetime
    end: datetime


class UsagePoint(_Point, frozen=True, kw_only=True):
    """One bucket, or one model in one bucket. Input includes cached tokens, output includes reasoning tokens.

    `revision` counts the changes after the bucket was finalized, `revisedAt` is the last of them.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_estimate_cents: Decimal
    revised_at: datetime | None


class UsageTotals(_Totals, frozen=True, kw_only=True):
    """The whole range, whatever the page."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_estimate_cents: Decimal


class UsageReport(_Report, frozen=True, kw_only=True):
    """Buckets without calls are not listed. `nextCursor` is null on the last page."""

    series: list[UsagePoint]
    totals: UsageTotals
    freshness: Freshness
    next_cursor: str | None


class ReliabilityPoint(_Point, frozen=True, kw_only=True):
    """One bucket, or one model in one bucket. `errorRate` is (error + timeout + throttled) / invocations."""

    error_rate: float | None
    latency_ms: LatencyPercentiles


class ReliabilityTotals(_Totals, frozen=True, kw_only=True):
    """The whole range, whatever the page; the percentiles are those of all its calls together."""

    error_rate: float | None
    latency_ms: LatencyPercentiles


class ReliabilityReport(_Report, frozen=True, kw_only=True):
    """Buckets without calls are not listed. `nextCursor` is null on the last page."""

    series: list[ReliabilityPoint]
    totals: ReliabilityTotals
    freshness: Freshness
    next_cursor: str | None


class ModelFreshness(_Answer, frozen=True, kw_only=True):
    """Lag and status are the organisation's: events of all models take the same way, an idle model is no late one."""

    model_id: str
    last_event_at: datetime
    last_rollup_at: datetime
    lag_seconds: float | None
    status: FreshnessStatus


class FreshnessReport(Freshness, frozen=True, kw_only=True):
    """The freshness of the organisation, or of the models asked for, and of each model."""

    org_id: UUID
    entries: list[ModelFreshness]
