"""How old the numbers are: computed at the moment of the answer, from facts that may have been cached."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

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


class Freshness(msgspec.Struct, frozen=True, rename="camel"):
    """`lagSeconds` is the greatest age that an accepted event can have and not be in the numbers; 0: all are in."""

    status: FreshnessStatus
    lag_seconds: float | None
    watermark: datetime | None
    last_event_at: datetime | None
    last_rollup_at: datetime | None


UNKNOWN = Freshness(FreshnessStatus.UNKNOWN, None, None, None, None)


def freshness(pipeline: PipelineFacts, models: Iterable[ModelFacts], now: datetime) -> Freshness:
    """The freshness of some models together; unknown where none of them ever had an event."""
    known = list(models)
    if not known:
        return UNKNOWN
    lag = _lag(pipeline, now)
    return Freshness(
        status=_status(lag),
        lag_seconds=None if lag is None else round(lag.total_seconds(), 3),
        watermark=pipeline.watermark,
        last_event_at=max(model.last_event_at for model in known),
        last_rollup_at=max(model.last_rollup_at for model in known),
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
