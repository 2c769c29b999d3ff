"""Folds until stopped: when a message says so, every second otherwise, and with several workers on a backlog."""

import asyncio
from time import perf_counter

import structlog
from opentelemetry import trace

from analytics_core.clock import Clock
from analytics_core.database import CONTENDED, REFUSED, UNREACHABLE, WriteDatabase
from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_core.messages import RollupCompleted
from analytics_core.telemetry.logs import redact_text
from analytics_rollup.fold import Fold, NotFoldable, fold
from analytics_rollup.limits import POLL_SECONDS, REST_SECONDS_MAX
from analytics_rollup.metrics import (
    BATCHES_FOLDED,
    DURATION,
    FAILURES,
    LAST_SUCCESS,
    ROWS_PROCESSED,
    UNFOLDABLE_BATCHES,
)
from analytics_rollup.suspects import Suspects
from analytics_rollup.wakeups import WakeUps

log = structlog.get_logger()
tracer = trace.get_tracer("analytics_rollup")


class Folder:
    """The workers of one process. Any number of processes may run: a batch is folded by whoever locks it first."""

    def __init__(self, database: WriteDatabase, wake_ups: WakeUps, now: Clock) -> None:
        self._database = database
        self._wake_ups = wake_ups
        self._now = now
        self._suspects = Suspects()
        self._backlog = asyncio.Event()

    async def work(self, stop: asyncio.Event) -> None:
        """The worker that is always there: folds what is there, rests, waits for more."""
        backoff = Backoff()
        while not stop.is_set():
            self._wake_ups.batches_wait.clear()
            started = perf_counter()
            done = await self._fold(backoff, stop)
            if done is None:
                await self._wait_for_batches()
            elif done.more:
                self._backlog.set()
            else:
                await sleep_unless_stopped(stop, min(perf_counter() - started, REST_SECONDS_MAX))

    async def help(self, stop: asyncio.Event) -> None:
        """A further worker: folds as long as more batches wait than one fold takes."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._backlog.wait()
            except TimeoutError:
                continue
            done = await self._fold(backoff, stop)
            if done is None or not done.more:
                self._backlog.clear()

    async def _wait_for_batches(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake_ups.batches_wait.wait()
        except TimeoutError:
            pass

    async def _fold(self, backoff: Backoff, stop: asyncio.Event) -> Fold | None:
        """One fold; None when there was nothing to do, or after a failure and the pause that follows it."""
        claim = self._suspects.next_claim()
        started = perf_counter()
        try:
            done = await fold(self._database, claim)
        except NotFoldable as error:
            self._suspects.failed(error.batch_ids)
            UNFOLDABLE_BATCHES.set(self._suspects.guilty)
            FAILURES.labels("data").inc()
            log.exception("fold_failed", reason="data", batch_ids=error.batch_ids)
            # Look again at once: the innocent ones among them have waited long enough.
            self._wake_ups.batches_wait.set()
            return None
        except (*UNREACHABLE, *REFUSED) as error:
            _note_failure(error)
            await sleep_unless_stopped(stop, backoff.next_seconds())
            return None
        backoff.reset()
        if done is not None:
            await self._completed(done, perf_counter() - started)
        elif claim.alone is not None:
            self._suspects.gone(claim.alone)
        UNFOLDABLE_BATCHES.set(self._suspects.guilty)
        return done

    async def _completed(self, done: Fold, seconds: float) -> None:
        for batch_id in done.batch_ids:
            self._suspects.gone(batch_id)
        self._trace(done, seconds)
        DURATION.observe(seconds)
        ROWS_PROCESSED.inc(done.events)
        BATCHES_FOLDED.inc(len(done.batch_ids))
        LAST_SUCCESS.set(self._now().timestamp())
        log.debug("folded", batches=len(done.batch_ids), events=done.events, seconds=round(seconds, 4))
        await self._wake_ups.announce(
            RollupCompleted(org_ids=done.org_ids, folded_batches=len(done.batch_ids), completed_at=self._now())
        )

    def _trace(self, done: Fold, seconds: float) -> None:
        """A span for a fold that did something; looking for batches every second would bury it."""
        ended = self._now()
        nanoseconds = int(ended.timestamp() * 1e9)
        span = tracer.start_span("fold", start_time=nanoseconds - int(seconds * 1e9))
        span.set_attributes({"messaging.batch.message_count": done.events, "analytics.batch_ids": done.batch_ids})
        span.end(nanoseconds)


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
