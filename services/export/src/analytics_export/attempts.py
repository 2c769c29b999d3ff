"""One attempt at a job: write its object, hold its lease meanwhile, write down how it ended.

Why a stale attempt cannot spoil a job that another has taken over: it renews its lease between starting an upload and
completing it, and its successor revokes the job's unfinished uploads after it has taken the lease. So either the
renewal fails, or the upload was there to be revoked, and completing it fails.
"""

import asyncio
import random
from datetime import timedelta
from functools import partial
from time import monotonic

import asyncpg
import structlog
from opentelemetry import trace
from opentelemetry.propagate import extract

from analytics_core.database import UNREACHABLE, ReadDatabase, WriteDatabase
from analytics_core.errors import AnalyticsError, FencedError
from analytics_core.messages import ExportCompleted
from analytics_export import leases, metrics
from analytics_export.delivery import TooLargeError, object_key
from analytics_export.exporting import Fencing, export_file
from analytics_export.jobs import ErrorCode, Job, JobStatus
from analytics_export.leases import Lease
from analytics_export.limits import (
    ATTEMPT_MAX,
    CLEAN_UP_SECONDS,
    PROGRESS_SECONDS,
    RETRY_DELAY_MAX,
    STOP_GRACE_SECONDS,
)
from analytics_export.outcomes import Progress, Revision
from analytics_export.rows import NotKeptError
from analytics_export.settings import Settings
from analytics_export.storage import ObjectStore, StorageError
from analytics_export.waiting import TimedOutError, first_of, time_limit
from analytics_export.wakeups import WakeUps

_FINAL = frozenset({ErrorCode.TOO_LARGE, ErrorCode.NOT_KEPT})
"""Trying again does not help."""

log = structlog.get_logger()
tracer = trace.get_tracer("analytics_export.attempts")


class StoppedError(AnalyticsError):
    """The process is to stop, and this attempt would take longer than it may."""


class Attempts:
    """What every attempt of this process works with."""

    def __init__(
        self,
        settings: Settings,
        *,
        jobs: WriteDatabase,
        rows: ReadDatabase,
        store: ObjectStore,
        wakeups: WakeUps,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._rows = rows
        self._store = store
        self._wakeups = wakeups

    async def run(self, lease: Lease, stop: asyncio.Event) -> None:
        """Make one attempt; its end is written down whatever it is. Once stopped, it gets `STOP_GRACE_SECONDS`."""
        job = lease.job
        with (
            structlog.contextvars.bound_contextvars(job_id=str(job.job_id), org_id=str(job.org_id)),
            # The request's trace goes on here, in whichever process and attempt.
            tracer.start_as_current_span("export job", context=extract({"traceparent": job.traceparent or ""})) as span,
        ):
            span.set_attribute("analytics.job_id", str(job.job_id))
            log.info("export_started", attempt=job.attempt, granularity=job.request.granularity)
            started, progress = monotonic(), Progress()
            try:
                await first_of(self._export(lease, progress), self._keep(lease, progress), _raise_after_grace(stop))
            except Exception as error:  # noqa: BLE001 — an attempt may fail in any way, the worker lives on
                span.record_exception(error)
                await self._write_down_failure(lease, error)
            else:
                metrics.CSV_DURATION.labels(job.request.granularity).observe(monotonic() - started)

    async def _export(self, lease: Lease, progress: Progress) -> None:
        """Write the object, then say so. Raises whatever goes wrong, with nothing left behind."""
        job = lease.job
        fencing = Fencing(partial(self._reserve, lease), partial(self._renew, lease, progress))
        async with time_limit(ATTEMPT_MAX):
            outcome = await export_file(
                self._rows, self._store, lease.scope, job, object_key(job), fencing=fencing, progress=progress
            )
            async with self._jobs.write(lease.scope) as session:
                await leases.succeed(session, lease.scope, lease, outcome, self._settings.export_retention)
        metrics.JOBS.labels(job.request.granularity).inc()
        metrics.ROWS.inc(outcome.row_count)
        metrics.BYTES.inc(outcome.size_bytes)
        log.info("export_succeeded", rows=outcome.row_count, bytes=outcome.size_bytes)
        self._wakeups.announce_end(ExportCompleted(job_id=job.job_id, org_id=job.org_id, status=JobStatus.SUCCEEDED))

    async def _keep(self, lease: Lease, progress: Progress) -> None:
        """Renew the lease for as long as the attempt lasts. Raises `FencedError` when it is or may be another's."""
        duration_seconds = self._settings.export_lease.total_seconds()
        held_until = monotonic() + duration_seconds
        while True:
            await asyncio.sleep(min(duration_seconds / 3, PROGRESS_SECONDS))
            try:
                asked_at = monotonic()
                await self._renew(lease, progress)
                held_until = asked_at + duration_seconds
            except leases.DATABASE_TROUBLE as error:
                if monotonic() + duration_seconds / 3 > held_until:
                    raise FencedError("the lease could not be renewed in time") from error

    async def _renew(self, lease: Lease, progress: Progress) -> None:
        bytes_max = self._settings.export_bytes_max
        if progress.size_bytes > bytes_max:
            raise TooLargeError(f"more than {bytes_max} bytes")
        async with self._jobs.write(lease.scope) as session:
            await leases.renew(session, lease.scope, lease, self._settings.export_lease, progress)

    async def _reserve(self, lease: Lease, parameters_sha256: str, checksum_sha256: str) -> Revision:
        async with self._jobs.write(lease.scope) as session:
            return await leases.reserve_revision(session, lease.scope, lease, parameters_sha256, checksum_sha256)

    async def _write_down_failure(self, lease: Lease, error: Exception) -> None:
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await self._end_attempt(lease, error)
        except FencedError:
            await self._let_go(lease)
        except leases.DATABASE_TROUBLE as second:
            # The lease runs out and another attempt follows.
            log.warning("export_failure_not_recorded", error=f"{type(second).__name__}: {second}")

    async def _let_go(self, lease: Lease) -> None:
        """The job is no longer this attempt's: somebody canceled it, or another worker has taken it over."""
        try:
            async with self._jobs.write(lease.scope) as session:
                canceled = await leases.let_go(session, lease.scope, lease)
        except leases.DATABASE_TROUBLE:
            canceled = False
        if canceled:
            log.info("export_canceled")
            self._wakeups.sweep_due.set()
        else:
            metrics.LEASES_LOST.inc()
            log.warning("export_lease_lost")

    async def _end_attempt(self, lease: Lease, error: Exception) -> None:
        if isinstance(error, FencedError):
            raise error
        if isinstance(error, StoppedError):
            async with self._jobs.write(lease.scope) as session:
                await leases.release(session, lease.scope, lease)
            log.info("export_released")
            return
        code, detail = _explained(error)
        metrics.ATTEMPTS_FAILED.labels(code).inc()
        known = code is not ErrorCode.INTERNAL
        log.warning("export_attempt_failed", code=code, attempt=lease.job.attempt, exc_info=None if known else error)
        if lease.is_last_attempt or code in _FINAL:
            async with self._jobs.write(lease.scope) as session:
                await leases.fail(session, lease.scope, lease, code, detail)
            self.announce_failure(lease.job, code)
        else:
            delay = self._retry_delay(lease.job.attempt)
            async with self._jobs.write(lease.scope) as session:
                await leases.retry_later(session, lease.scope, lease, code, detail, delay)
            asyncio.get_running_loop().call_later(delay.total_seconds(), self._wakeups.requested.set)

    def announce_failure(self, job: Job, code: ErrorCode) -> None:
        """Tell everybody that a job has failed for good, and have removed what its attempts may have left."""
        log.error("export_failed", job_id=str(job.job_id), org_id=str(job.org_id), code=code)
        metrics.JOBS.labels(job.request.granularity).inc()
        metrics.JOBS_FAILED.labels(code).inc()
        self._wakeups.announce_end(ExportCompleted(job_id=job.job_id, org_id=job.org_id, status=JobStatus.FAILED))

    def _retry_delay(self, attempt: int) -> timedelta:
        delay: timedelta = self._settings.export_retry_delay * 2 ** (attempt - 1)
        jitter = random.uniform(0.9, 1.1)  # noqa: S311 — spreads load, needs no cryptography
        return min(delay, RETRY_DELAY_MAX) * jitter


def _explained(error: Exception) -> tuple[ErrorCode, str]:
    """An attempt's error in words fit for the export's user."""
    match error:
        case StorageError():
            return error.code, error.detail
        case TooLargeError():
            return ErrorCode.TOO_LARGE, f"the file would have {error}; choose a shorter range or fewer models"
        case NotKeptError():
            return ErrorCode.NOT_KEPT, str(error)
        case TimedOutError() | asyncpg.QueryCanceledError():
            return ErrorCode.TIMED_OUT, f"not done within {ATTEMPT_MAX // timedelta(minutes=1)} minutes"
        case _ if isinstance(error, UNREACHABLE):
            return ErrorCode.DATABASE_UNAVAILABLE, "the database could not be reached"
        case _:
            return ErrorCode.INTERNAL, "an unexpected error; quote the job's id when you report it"


async def _raise_after_grace(stop: asyncio.Event) -> None:
    await stop.wait()
    await asyncio.sleep(STOP_GRACE_SECONDS)
    raise StoppedError("the process is to stop")
