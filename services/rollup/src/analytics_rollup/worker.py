"""Folds until stopped: when a message says so, every second otherwise, and with several workers on a backlog."""

import asyncio
from time import perf_counter

from analytics_core.clock import Clock
from analytics_core.database import WriteDatabase
from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_rollup.attempts import Attempts, Stage
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Fold, fold
from analytics_rollup.limits import (
    DIMENSION_REST_SECONDS_MAX,
    DIMENSION_RESTS,
    POLL_SECONDS,
    REST_SECONDS_MAX,
    RESTS,
)
from analytics_rollup.metrics import (
    BATCHES_FOLDED,
    DIMENSIONS_DURATION,
    DIMENSIONS_ROWS_PROCESSED,
    DIMENSIONS_UNFOLDABLE_BATCHES,
    DURATION,
    LAST_SUCCESS,
    ROWS_PROCESSED,
    UNFOLDABLE_BATCHES,
)
from analytics_rollup.wakeups import WakeUps

MODELS = Stage("fold", fold, DURATION, ROWS_PROCESSED, UNFOLDABLE_BATCHES)
DIMENSIONS = Stage(
    "fold_dimensions",
    fold_dimensions,
    DIMENSIONS_DURATION,
    DIMENSIONS_ROWS_PROCESSED,
    DIMENSIONS_UNFOLDABLE_BATCHES,
)


class Folder:
    """The workers of one process. Any number of processes may run: a batch is folded by whoever locks it first."""

    def __init__(self, database: WriteDatabase, wake_ups: WakeUps, now: Clock) -> None:
        self._wake_ups = wake_ups
        self._now = now
        self._backlog = asyncio.Event()
        self._dimensions_backlog = asyncio.Event()
        self._folded = asyncio.Event()
        self._models = Attempts(MODELS, database, wake_ups, now, wake_ups.batches_wait)
        self._dimensions = Attempts(DIMENSIONS, database, wake_ups, now, self._folded)

    async def work(self, stop: asyncio.Event) -> None:
        """The worker that is always there: folds what is there, rests, waits for more."""
        backoff = Backoff()
        while not stop.is_set():
            self._wake_ups.batches_wait.clear()
            started = perf_counter()
            done = await self._fold_models(backoff, stop)
            if done is None:
                await _within_poll(self._wake_ups.batches_wait)
            elif done.more:
                self._backlog.set()
            else:
                rest = RESTS * (perf_counter() - started)
                await sleep_unless_stopped(stop, min(rest, REST_SECONDS_MAX))

    async def help(self, stop: asyncio.Event) -> None:
        """A further worker: folds as long as more batches wait than one fold takes."""
        backoff = Backoff()
        while not stop.is_set():
            if not await _within_poll(self._backlog):
                continue
            done = await self._fold_models(backoff, stop)
            if done is None or not done.more:
                self._backlog.clear()

    async def fold_dimensions(self, stop: asyncio.Event) -> None:
        """The worker of the dimension fold that is always there; what the model fold has done is its work."""
        backoff = Backoff()
        while not stop.is_set():
            self._folded.clear()
            started = perf_counter()
            done = await self._dimensions.fold(backoff, stop)
            if done is None:
                await _within_poll(self._folded)
            elif done.more:
                self._dimensions_backlog.set()
            else:
                rest = DIMENSION_RESTS * (perf_counter() - started)
                await sleep_unless_stopped(stop, min(rest, DIMENSION_REST_SECONDS_MAX))

    async def help_dimensions(self, stop: asyncio.Event) -> None:
        """A further worker of the dimension fold, for backlogs."""
        backoff = Backoff()
        while not stop.is_set():
            if not await _within_poll(self._dimensions_backlog):
                continue
            done = await self._dimensions.fold(backoff, stop)
            if done is None or not done.more:
                self._dimensions_backlog.clear()

    async def _fold_models(self, backoff: Backoff, stop: asyncio.Event) -> Fold | None:
        done = await self._models.fold(backoff, stop)
        if done is None:
            return None
        BATCHES_FOLDED.inc(len(done.batch_ids))
        LAST_SUCCESS.set(self._now().timestamp())
        self._folded.set()
        return done


async def _within_poll(event: asyncio.Event) -> bool:
    """Whether the event was set before it is time to look without being told."""
    try:
        async with asyncio.timeout(POLL_SECONDS):
            await event.wait()
    except TimeoutError:
        return False
    return True
