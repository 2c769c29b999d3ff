"""Takes waiting jobs, one after the other, and has an attempt made at each."""

import asyncio
import os
import socket
from uuid import uuid4

import structlog

from analytics_core.access import scope_for_own_work
from analytics_core.database import WriteDatabase
from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_export import leases, metrics
from analytics_export.attempts import Attempts
from analytics_export.jobs import ErrorCode, JobStatus
from analytics_export.leases import Lease
from analytics_export.limits import QUEUE_GAUGE_SECONDS
from analytics_export.settings import Settings
from analytics_export.waiting import first_of

QUEUE = scope_for_own_work()
log = structlog.get_logger()


class Worker:
    """The worker of one process: `export_worker_concurrency` loops over the queue that all processes share."""

    def __init__(
        self, settings: Settings, *, jobs: WriteDatabase, attempts: Attempts, requested: asyncio.Event
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._attempts = attempts
        self._requested = requested

    async def run(self, stop: asyncio.Event) -> None:
        """Work until stopped; jobs under way are finished, or handed back when that takes too long."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.export_worker_concurrency):
                group.create_task(self._loop(stop))

    async def watch_queue(self, stop: asyncio.Event) -> None:
        """Keep the gauges of the queue until stopped."""
        while not stop.is_set():
            try:
                async with self._jobs.read(QUEUE) as session:
                    state = await leases.queue_state(session)
            except leases.DATABASE_TROUBLE:
                log.debug("queue_state_unknown")  # readiness says why
            else:
                metrics.QUEUE_JOBS.labels(JobStatus.PENDING).set(state.pending)
                metrics.QUEUE_JOBS.labels(JobStatus.RUNNING).set(state.running)
                metrics.OLDEST_PENDING_AGE.set(state.oldest_pending_seconds)
            await sleep_unless_stopped(stop, QUEUE_GAUGE_SECONDS)

    async def _loop(self, stop: asyncio.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            self._requested.clear()
            try:
                lease = await self._claim()
                if lease is not None:
                    self._requested.set()  # there may be another one for an idle loop
                    await self._attempts.run(lease, stop)
            except Exception as error:  # a loop that ended would leave an API that accepts jobs for nobody
                known = isinstance(error, leases.DATABASE_TROUBLE)
                text = f"{type(error).__name__}: {error}"
                log.warning("worker_in_trouble", error=text, exc_info=None if known else error, retrying=True)
                await sleep_unless_stopped(stop, backoff.next_seconds())
                continue
            backoff.reset()
            if lease is None:
                await first_of(
                    stop.wait(),
                    self._requested.wait(),
                    asyncio.sleep(self._settings.export_worker_interval.total_seconds()),
                )

    async def _claim(self) -> Lease | None:
        async with self._jobs.write(QUEUE) as session:
            lost = await leases.fail_lost(session)
        for job in lost:
            self._attempts.announce_failure(job, ErrorCode.WORKER_LOST)
        # A name for this attempt alone; host and process are for the people who look into the table.
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4()}"
        async with self._jobs.write(QUEUE) as session:
            return await leases.claim(
                session, owner, self._settings.export_lease, self._settings.export_org_concurrency
            )
