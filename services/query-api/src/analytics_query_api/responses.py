"""What the API answers with. Field names and meanings are the contract; the descriptions end up in it."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from analytics_core.query.question import Dimension
from analytics_core.query.zones import Granularity
from analytics_query_api.freshness import Freshness, FreshnessStatus
from analytics_query_api.latencies import LatencyPercentiles


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
BucketStart = Annotated[datetime, Meta(description="With the offset that the time zone has then.")]
Revision = Annotated[
    int, Meta(description="How often the bucket has changed after it was finalized, added up over what it is made of.")
]
RevisedAt = Annotated[datetime | None, Meta(description="The last such change.")]
OrgId = Annotated[UUID | msgspec.UnsetType, Meta(description="Only when grouped by org.")]
ModelId = Annotated[str | msgspec.UnsetType, Meta(description="Only when grouped by model.")]
Status = Annotated[str | msgspec.UnsetType, Meta(description="Only when grouped by status.")]
Optional = Annotated[
    str | msgspec.UnsetType | None, Meta(description="Only when grouped by it; null: calls that have none.")
]
NextCursor = Annotated[str | None, Meta(description="The `cursor` of the next page; null on the last one.")]


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


# A page has up to 10,000 points: they are built by position, and know that they are in no reference cycle.
class _Point(msgspec.Struct, frozen=True, rename="camel", gc=False):
    bucket_start: BucketStart
    confidence: Confidence
    invocations: int
    success_count: int
    error_count: int
    timeout_count: int
    throttled_count: int
    revision: Revision


GROUP_FIELDS = {
    "org_id": Dimension.ORG,
    "model_id": Dimension.MODEL,
    "client_id": Dimension.CLIENT,
    "actor_id": Dimension.ACTOR,
    "status": Dimension.STATUS,
    "error_code": Dimension.ERROR_CODE,
    "project": Dimension.PROJECT,
}
"""The fields of a point that say what it is about, in their order, which is that of the dimensions."""


class UsagePoint(_Point, frozen=True, gc=False):
    """One bucket, or one group in one bucket."""

    input_tokens: InputTokens
    output_tokens: OutputTokens
    cached_input_tokens: int
    reasoning_tokens: int
    cost_estimate_cents: Decimal
    revised_at: RevisedAt
    org_id: OrgId = msgspec.UNSET
    model_id: ModelId = msgspec.UNSET
    client_id: Optional = msgspec.UNSET
    actor_id: Optional = msgspec.UNSET
    status: Status = msgspec.UNSET
    error_code: Optional = msgspec.UNSET
    project: Optional = msgspec.UNSET


class ReliabilityPoint(_Point, frozen=True, gc=False):
    """One bucket, or one group in one bucket."""

    error_rate: ErrorRate
    latency_ms: LatencyPercentiles
    org_id: OrgId = msgspec.UNSET
    model_id: ModelId = msgspec.UNSET
    client_id: Optional = msgspec.UNSET
    actor_id: Optional = msgspec.UNSET
    status: Status = msgspec.UNSET
    error_code: Optional = msgspec.UNSET
    project: Optional = msgspec.UNSET


# msgspec structs have one base, so points and totals both spell their numbers out.
class _Totals(_Answer, frozen=True, kw_only=True):
    invocations: int
    success_count: int
    error_count: int
    timeout_count: int
    throttled_count: int
    confidence: Confidence


class UsageTotals(_Totals, frozen=True, kw_only=True):
    """The whole range, whatever the page."""

    input_tokens: InputTokens
    output_tokens: OutputTokens
    cached_input_tokens: int
    reasoning_tokens: int
    cost_estimate_cents: Decimal


class ReliabilityTotals(_Totals, frozen=True, kw_only=True):
    """The whole range, whatever the page; the percentiles are those of all its calls together."""

    error_rate: ErrorRate
    latency_ms: LatencyPercentiles


class PreviousUsage(_Answer, frozen=True, kw_only=True):
    """As many buckets right before the range."""

    start: datetime
    end: datetime
    totals: UsageTotals


class PreviousReliability(_Answer, frozen=True, kw_only=True):
    """As many buckets right before the range."""

    start: datetime
    end: datetime
    totals: ReliabilityTotals


class _Series(_Answer, frozen=True, kw_only=True):
    org_id: Annotated[UUID | None, Meta(description="null: all organisations.")]
    granularity: Granularity
    timezone: str
    start: datetime
    end: datetime
    freshness: Freshness
    next_cursor: NextCursor


class UsageReport(_Series, frozen=True, kw_only=True):
    """Buckets without calls are not listed, unless with fill=zero."""

    series: list[UsagePoint]
    totals: UsageTotals
    previous: Annotated[PreviousUsage | msgspec.UnsetType, Meta(description="Only with compare=previous.")] = (
        msgspec.UNSET
    )


class ReliabilityReport(_Series, frozen=True, kw_only=True):
    """Buckets without calls are not listed, unless with fill=zero."""

    series: list[ReliabilityPoint]
    totals: ReliabilityTotals
    previous: Annotated[PreviousReliability | msgspec.UnsetType, Meta(description="Only with compare=previous.")] = (
        msgspec.UNSET
    )


class ErrorGroup(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Failed calls that have the same values of what is grouped by."""

    failed_count: int
    error_count: int
    timeout_count: int
    throttled_count: int
    share: Annotated[float, Meta(description="Of all failed calls of the range and filters, 0 to 1.")]
    first_event_at: datetime
    last_event_at: datetime
    model_id: ModelId = msgspec.UNSET
    client_id: Optional = msgspec.UNSET
    actor_id: Optional = msgspec.UNSET
    status: Status = msgspec.UNSET
    error_code: Optional = msgspec.UNSET
    project: Optional = msgspec.UNSET


class ErrorTotals(_Answer, frozen=True, kw_only=True):
    """All failed calls of the range and filters, whatever the page."""

    failed_count: int
    error_count: int
    timeout_count: int
    throttled_count: int
    confidence: Confidence


class ErrorReport(_Answer, frozen=True, kw_only=True):
    """Where failures come from, the most frequent group first."""

    org_id: UUID
    start: datetime
    end: datetime
    errors: list[ErrorGroup]
    totals: ErrorTotals
    freshness: Freshness
    next_cursor: NextCursor


class DimensionValue(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A value that calls of the range have; null: calls that have none."""

    value: str | None
    invocations: int
    last_event_at: datetime


class DimensionReport(_Answer, frozen=True, kw_only=True):
    """The values seen in the range, in the order of the database's collation."""

    org_id: UUID
    dimension: str
    start: datetime
    end: datetime
    values: list[DimensionValue]
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
