"""One partition's life in this process: own it, read it, write it, and begin again whatever happens."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

import structlog

from analytics_core.clock import Clock
from analytics_core.database import REFUSED, UNREACHABLE
from analytics_core.errors import FencedError
from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_core.telemetry.logs import redact_text
from analytics_ingest import metrics
from analytics_ingest.batch import BatchSize
from analytics_ingest.continuity import Continuity, OffsetRegression
from analytics_ingest.dead_letters import DeadLetterLimit, DeadLetterLimitReached
from analytics_ingest.intake import Intake
from analytics_ingest.lag import watch_lag
from analytics_ingest.leases import Lease, LeaseExpired, Leases, Taken
from analytics_ingest.limits import HEARTBEAT_MARGIN, IDLE_PROBE_AFTER, STOP_PATIENCE, STOPPED_PAUSE
from analytics_ingest.stops import History, Stops
from analytics_ingest.stream_client import ReaderFailed
from analytics_ingest.stream_reader import OpenReader
from analytics_ingest.writer import BatchWriter, lag_seconds

# Replicas without the lease look again when it ends, and this often in case it is given back before.
LOOK_AGAIN_MAX_SECONDS = 1.0
LOOK_AGAIN_MIN_SECONDS = 0.2
# After an outage nobody should wait long for us to notice its end; a try costs the servers one connection.
RETRY_MAX_SECONDS = 5.0
# An operator who has decided should see it happen.
DECISION_POLL_SECONDS = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PartitionSettings:
    """What a partition's worker has to know."""

    partition: int
    retention: timedelta
    batch_size: BatchSize
    new_limit: Callable[[History], DeadLetterLimit]


class PartitionWorker:
    """Runs one partition for as long as the process lives, whenever this replica has its lease.

    `stopped_because` says why it does not read although it could: somebody has to decide.
    """

    def __init__(
        self,
        settings: PartitionSettings,
        leases: Leases,
        stops: Stops,
        open_reader: OpenReader,
        writer: BatchWriter,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._leases = leases
        self._stops = stops
        self._open_reader = open_reader
        self._writer = writer
        self._clock = clock
        self._lease: Lease | None = None
        self._accepted_through: datetime | None = None
        self._failing_because: str | None = None
        self.stopped_because: str | None = None
        self._turns = 0
        number = settings.partition
        metrics.LEASE_OWNER.labels(number).set(0)
        metrics.STOPPED.labels(number).set(0)
        metrics.GAPS.labels(number)
        metrics.STREAM_LAG_MESSAGES.labels(number)
        metrics.STREAM_LAG.labels(number).set_function(lambda: lag_seconds(self._known_through(), self._clock()))

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped. Raises nothing: every failure is logged, counted and tried again."""
        backoff = Backoff(max_seconds=RETRY_MAX_SECONDS)
        while not stop.is_set():
            self._turns += 1
            progress = self._known_through()
            try:
                taken = await self._own(stop)
                if taken is not None:
                    pause = min(max(taken.free_in_seconds, LOOK_AGAIN_MIN_SECONDS), LOOK_AGAIN_MAX_SECONDS)
                    await sleep_unless_stopped(stop, pause)
            except Exception as error:  # noqa: BLE001 — the loop must outlive whatever it is
                if self._known_through() != progress:
                    backoff.reset()
                    self._failing_because = None
                self._note_failure(error)
                await sleep_unless_stopped(stop, backoff.next_seconds())

    def last_move(self) -> float:
        """Changes as long as the worker gets on, and while it waits for an operator's decision."""
        return self._turns if self.stopped_because is None else monotonic()

    def _known_through(self) -> datetime | None:
        return self._accepted_through if self._lease is None else self._lease.accepted_through

    async def _own(self, stop: asyncio.Event) -> Taken | None:
        """Take the lease and work until stopped or something fails; or say who has it."""
        lease = await self._leases.acquire(self._settings.partition)
        self._accepted_through = lease.accepted_through
        if isinstance(lease, Taken):
            return lease
        log.info("lease_acquired", partition=lease.partition, epoch=lease.epoch, next_offset=lease.next_offset)
        self._lease = lease
        metrics.LEASE_OWNER.labels(lease.partition).set(1)
        try:
            await self._work_while_owner(lease, stop)
        finally:
            self._accepted_through, self._lease = lease.accepted_through, None
            metrics.LEASE_OWNER.labels(lease.partition).set(0)
            with suppress(Exception):
                async with asyncio.timeout(lease.duration.total_seconds() / 2):
                    await self._leases.release(lease)
        return None

    async def _work_while_owner(self, lease: Lease, stop: asyncio.Event) -> None:
        keeper = asyncio.create_task(self._leases.keep(lease))
        work = asyncio.create_task(self._work(lease, stop))
        try:
            done, _ = await asyncio.wait({keeper, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, keeper):
                task.cancel()
            await asyncio.gather(work, keeper, return_exceptions=True)
        # A lost lease explains whatever the work failed with at the same time.
        for task in sorted(done, key=lambda task: task is not keeper):
            task.result()

    async def _work(self, lease: Lease, stop: asyncio.Event) -> None:
        try:
            await self._read_and_write(lease, stop)
        except (DeadLetterLimitReached, OffsetRegression) as error:
            lease.is_reading = False
            await self._stand_still(error, lease, stop)

    async def _read_and_write(self, lease: Lease, stop: asyncio.Event) -> None:
        history = await self._stops.history(lease)
        limit = self._settings.new_limit(history)
        is_stopped = history.is_stopped
        continuity = Continuity(lease.next_offset, lease.last_accepted_at)
        async with self._open_reader(lease.partition, continuity.attach_offset) as reader:
            lease.is_reading = True
            watch = asyncio.create_task(watch_lag(reader, lease))
            intake = Intake(
                reader,
                continuity,
                lease.partition,
                self._settings.retention,
                self._settings.batch_size,
                history.allowed_through,
            )
            commit: asyncio.Task[None] | None = None
            try:
                while not stop.is_set() and not lease.is_surplus:
                    self._turns += 1
                    if watch.done():
                        watch.result()
                    # The next batch is decoded while the one before it commits.
                    batch = await intake.next_batch(IDLE_PROBE_AFTER.total_seconds(), commit)
                    if commit is not None:
                        await commit
                        commit = None
                        if is_stopped:
                            await self._stops.clear(lease)
                            is_stopped = False
                    if batch is not None:
                        commit = asyncio.create_task(self._writer.write(lease, batch, limit))
                    else:
                        await self._prove_progress(intake, lease)
                if commit is not None:
                    await asyncio.wait_for(commit, STOP_PATIENCE.total_seconds())
            finally:
                left = [task for task in (watch, commit) if task is not None]
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)
                metrics.STREAM_LAG_MESSAGES.labels(lease.partition).set(0)

    async def _prove_progress(self, intake: Intake, lease: Lease) -> None:
        """Nothing came: if that is because there is nothing, freshness may move on."""
        # Before the proof: however long the proof and the renewal wait, they say nothing about what comes meanwhile.
        asked_at = await self._leases.database_time()
        if await intake.is_caught_up():
            await self._leases.renew(lease, asked_at - HEARTBEAT_MARGIN)
            metrics.LAST_PROGRESS.labels(lease.partition).set(self._clock().timestamp())

    async def _stand_still(
        self, error: DeadLetterLimitReached | OffsetRegression, lease: Lease, stop: asyncio.Event
    ) -> None:
        """Keep the lease, so that no other replica runs into the same wall, until somebody mends it or decides."""
        partition = self._settings.partition
        event = "offset_regression" if isinstance(error, OffsetRegression) else "dead_letter_limit_reached"
        self.stopped_because = f"partition {partition} is stopped: {event}: {error}"
        metrics.STOPPED.labels(partition).set(1)
        log.error(event, partition=partition, error=str(error), next_try_seconds=STOPPED_PAUSE.total_seconds())
        try:
            through = error.through if isinstance(error, DeadLetterLimitReached) else lease.next_offset - 1
            await self._stops.note(lease, f"{event}: {error}", through)
            try_again_at = monotonic() + STOPPED_PAUSE.total_seconds()
            while not stop.is_set() and monotonic() < try_again_at:
                await sleep_unless_stopped(stop, DECISION_POLL_SECONDS)
                if await self._stops.is_decided(lease):
                    log.info("partition_resumed", partition=partition, next_offset=lease.next_offset)
                    return
        finally:
            self.stopped_because = None
            metrics.STOPPED.labels(partition).set(0)

    def _note_failure(self, error: Exception) -> None:
        reason = _reason(error)
        metrics.READER_RESTARTS.labels(reason).inc()
        if isinstance(error, FencedError):
            metrics.FENCED.inc()
        if isinstance(error, ReaderFailed):
            self._leases.reading_failed_at = monotonic()
        # The first failure of a kind is news, its repetition every few seconds is not.
        tell = log.debug if reason == self._failing_because else log.warning
        self._failing_because = reason
        tell(
            "partition_interrupted",
            partition=self._settings.partition,
            reason=reason,
            error=redact_text(f"{type(error).__name__}: {error}"),
            exc_info=error if reason == "unexpected" else None,
        )


def _reason(error: Exception) -> str:
    match error:
        case ReaderFailed():
            return error.reason
        case FencedError():
            return "fenced"
        case LeaseExpired():
            return "lease_expired"
        case _ if isinstance(error, (*UNREACHABLE, *REFUSED)):
            return "database"
    return "unexpected"
