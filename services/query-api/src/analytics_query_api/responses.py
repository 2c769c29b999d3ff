"""What the API answers with. Field names and meanings are the contract; the descriptions end up in it."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from analytics_query_api.freshness import Freshness, FreshnessStatus
from analytics_query_api.latencies import LatencyPercentiles
from analytics_query_api.periods import Granularity


class Confidence(StrEnum):
    """finalized: everything accepted up to 15 minutes after the bucket's end is in. estimated: more may come."""

    ESTIMATED = "estimated"
    FINALIZED = "finalized"


InputTokens = Annotated[int, Meta(description="Cached input tokens included.")]
OutputTokens = Annotated[int, Meta(description="Reasoning tokens included.")]
ErrorRate = Annotated[
    float | None,
    Meta(
        description="(errorCount + timeoutCount + throttledCount) / invocations, 0 to 1; null where there is no call."
    ),
]
Revision = Annotated[
    int, Meta(description="How often the bucket has changed after it was finalized, added up over its models.")
]
RevisedAt = Annotated[datetime | None, Meta(description="The last such change.")]
ModelId = Annotated[str | msgspec.UnsetType, Meta(description="Only with groupBy=model.")]
NextCursor = Annotated[str | None, Meta(description="The `cursor` of the next page; null on the last one.")]


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


# msgspec structs have one base, so points and totals both spell their numbers out.
class _Point(_Answer, frozen=True, kw_only=True):
    bucket_start: datetime
    model_id: ModelId = msgspec.UNSET
    invocations: int
    success_count: int
    error_count: int
    timeout_count: int
    throttled_count: int
    confidence: Confidence
    revision: Revision


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
    """One bucket, or one model in one bucket."""

    input_tokens: InputTokens
    output_tokens: OutputTokens
    cached_input_tokens: int
    reasoning_tokens: int
    cost_estimate_cents: Decimal
    revised_at: RevisedAt


class UsageTotals(_Totals, frozen=True, kw_only=True):
    """The whole range, whatever the page."""

    input_tokens: InputTokens
    output_tokens: OutputTokens
    cached_input_tokens: int
    reasoning_tokens: int
    cost_estimate_cents: Decimal


class UsageReport(_Report, frozen=True, kw_only=True):
    """Buckets without calls are not listed."""

    series: list[UsagePoint]
    totals: UsageTotals
    freshness: Freshness
    next_cursor: NextCursor


class ReliabilityPoint(_Point, frozen=True, kw_only=True):
    """One bucket, or one model in one bucket."""

    error_rate: ErrorRate
    latency_ms: LatencyPercentiles


class ReliabilityTotals(_Totals, frozen=True, kw_only=True):
    """The whole range, whatever the page; the percentiles are those of all its calls together."""

    error_rate: ErrorRate
    latency_ms: LatencyPercentiles


class ReliabilityReport(_Report, frozen=True, kw_only=True):
    """Buckets without calls are not listed."""

    series: list[ReliabilityPoint]
    totals: ReliabilityTotals
    freshness: Freshness
    next_cursor: NextCursor


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
