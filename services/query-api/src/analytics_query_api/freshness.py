"""How old the numbers are: computed at the moment of the answer, from facts that may have been cached."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

# ingest confirms at least every 2 s that it is caught up: a watermark this young, with nothing waiting, is "now".
HEARTBEAT_TOLERANCE = timedelta(seconds=10)
STALE_AFTER = timedelta(minutes=5)
DELAYED_AFTER = timedelta(minutes=10)


class ModelFacts(msgspec.Struct, frozen=True):
    """The newest visible event of a model, and when the rollups of the model last changed."""

    model_id: str
    last_event_at: datetime
    last_rollup_at: datetime


class PipelineFacts(msgspec.Struct, frozen=True):
    """Everything accepted before the watermark is visible; None while nobody can know."""

    watermark: datetime | None
    unfolded: bool


class FreshnessStatus(StrEnum):
    """fresh: under 5 minutes behind; stale: under 10; delayed: more; unknown: nobody can tell."""

    FRESH = "fresh"
    STALE = "stale"
    DELAYED = "delayed"
    UNKNOWN = "unknown"


LagSeconds = Annotated[
    float | None, Meta(description="No accepted event that is missing from the numbers is older. 0: none is missing.")
]
Watermark = Annotated[datetime | None, Meta(description="Everything accepted before this time is in the numbers.")]
LastEventAt = Annotated[datetime | None, Meta(description="When the newest call in the numbers happened.")]
LastRollupAt = Annotated[datetime | None, Meta(description="When the numbers last changed.")]


class Freshness(msgspec.Struct, frozen=True, rename="camel"):
    """How old the numbers are; null is what nobody can know."""

    status: FreshnessStatus
    lag_seconds: LagSeconds
    watermark: Watermark
    last_event_at: LastEventAt
    last_rollup_at: LastRollupAt


UNKNOWN = Freshness(FreshnessStatus.UNKNOWN, None, None, None, None)


def freshness(pipeline: PipelineFacts, models: Iterable[ModelFacts], now: datetime) -> Freshness:
    """The freshness of some models together; unknown where none of them ever had an event."""
    known = list(models)
    if not known:
        return UNKNOWN
    newest = max(model.last_event_at for model in known), max(model.last_rollup_at for model in known)
    return freshness_since(pipeline, *newest, now)


def freshness_since(
    pipeline: PipelineFacts, last_event_at: datetime | None, last_rollup_at: datetime | None, now: datetime
) -> Freshness:
    """The freshness of numbers whose newest event is known; unknown where there never was one."""
    if last_event_at is None:
        return UNKNOWN
    lag = _lag(pipeline, now)
    return Freshness(
        status=_status(lag),
        lag_seconds=None if lag is None else round(lag.total_seconds(), 3),
        watermark=pipeline.watermark,
        last_event_at=last_event_at,
        last_rollup_at=last_rollup_at,
    )


def _lag(pipeline: PipelineFacts, now: datetime) -> timedelta | None:
    if pipeline.watermark is None:
        return None
    behind = max(now - pipeline.watermark, timedelta(0))
    return timedelta(0) if not pipeline.unfolded and behind <= HEARTBEAT_TOLERANCE else behind


def _status(lag: timedelta | None) -> FreshnessStatus:
    if lag is None:
        return FreshnessStatus.UNKNOWN
    if lag < STALE_AFTER:
        return FreshnessStatus.FRESH
    return FreshnessStatus.STALE if lag < DELAYED_AFTER else FreshnessStatus.DELAYED
