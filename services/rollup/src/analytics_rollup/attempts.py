"""One fold after the other, of models or of dimensions: what is tried, and what follows from a failure."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

import structlog
from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram

from analytics_core.clock import Clock
from analytics_core.database import CONTENDED, REFUSED, UNREACHABLE, WriteDatabase
from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_core.messages import RollupCompleted
from analytics_core.telemetry.logs import redact_text
from analytics_rollup.fold import Claim, Fold, NotFoldable
from analytics_rollup.metrics import FAILURES
from analytics_rollup.suspects import Suspects
from analytics_rollup.wakeups import WakeUps

log = structlog.get_logger()
tracer = trace.get_tracer("analytics_rollup")


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the two folds that every batch goes through, and where its figures go."""

    name: str
    fold: Callable[[WriteDatabase, Claim], Awaitable[Fold | None]]
    duration: Histogram
    events: Counter
    unfoldable: Gauge


class Attempts:
    """Folds of one stage. A batch that fails is tried alone, then left out and tried again later.

    `again` is set when there is reason to look again at once.
    """

    def __init__(
        self, stage: Stage, database: WriteDatabase, wake_ups: WakeUps, now: Clock, again: asyncio.Event
    ) -> None:
        self._stage = stage
        self._again = again
        self._database = database
        self._wake_ups = wake_ups
        self._now = now
        self._suspects = Suspects()

    async def fold(self, backoff: Backoff, stop: asyncio.Event) -> Fold | None:
        """One fold; None when there was nothing to do, or after a failure and the pause that follows it."""
        # Only a span that is ended is exported: looking for batches every second would bury those that did something.
        span = tracer.start_span(self._stage.name)
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            return await self._fold(span, backoff, stop)

    async def _fold(self, span: trace.Span, backoff: Backoff, stop: asyncio.Event) -> Fold | None:
        claim = self._suspects.next_claim()
        started = perf_counter()
        try:
            done = await self._stage.fold(self._database, claim)
        except NotFoldable as error:
            self._suspects.failed(error.batch_ids)
            self._stage.unfoldable.set(self._suspects.guilty)
            FAILURES.labels("data").inc()
            log.exception("fold_failed", stage=self._stage.name, reason="data", batch_ids=error.batch_ids)
            _end_failed(span, error)
            # The innocent ones among them have waited long enough.
            self._again.set()
            return None
        except (*UNREACHABLE, *REFUSED) as error:
            _note_failure(error)
            _end_failed(span, error)
            await sleep_unless_stopped(stop, backoff.next_seconds())
            return None
        backoff.reset()
        if done is not None:
            await self._completed(done, perf_counter() - started)
            span.set_attributes({"messaging.batch.message_count": done.events, "analytics.batch_ids": done.batch_ids})
            span.end()
        elif claim.alone is not None:
            self._suspects.gone(claim.alone)
        self._stage.unfoldable.set(self._suspects.guilty)
        return done

    async def _completed(self, done: Fold, seconds: float) -> None:
        for batch_id in done.batch_ids:
            self._suspects.gone(batch_id)
        self._stage.duration.observe(seconds)
        self._stage.events.inc(done.events)
        log.debug(
            "folded", stage=self._stage.name, batches=len(done.batch_ids), events=done.events, seconds=round(seconds, 4)
        )
        await self._wake_ups.announce(
            RollupCompleted(org_ids=done.org_ids, folded_batches=len(done.batch_ids), completed_at=self._now())
        )


def _end_failed(span: trace.Span, error: Exception) -> None:
    span.record_exception(error)
    span.set_status(trace.StatusCode.ERROR)
    span.end()


def _note_failure(error: Exception) -> None:
    """The server's absence is logged by the dependency check, contention passes; anything else needs a person."""
    text = redact_text(f"{type(error).__name__}: {error}")
    if isinstance(error, CONTENDED):
        FAILURES.labels("contended").inc()
        log.info("fold_retried", error=text)
    elif isinstance(error, UNREACHABLE):
        FAILURES.labels("unreachable").inc()
        log.debug("fold_retried", error=text)
    else:
        FAILURES.labels("refused").inc()
        log.error("fold_failed", reason="refused", error=text)
