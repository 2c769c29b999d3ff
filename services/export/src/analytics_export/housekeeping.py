"""Keeps the storage in step with the jobs: files expire, and nothing is left of jobs that have none.

Every replica does all of it; each step may be done twice without harm.
"""

import asyncio
from datetime import timedelta
from time import monotonic

import structlog

from analytics_core import clock
from analytics_core.access import OrgScope, scope_for_accepted_job, scope_for_own_work
from analytics_core.database import WriteDatabase, WriteSession
from analytics_core.lifecycle import sleep_unless_stopped
from analytics_core.sql import load_queries
from analytics_export import metrics
from analytics_export.delivery import object_key
from analytics_export.jobs import Job, job_from_row
from analytics_export.leases import DATABASE_TROUBLE
from analytics_export.limits import STALE_UPLOAD_AGE, STALE_UPLOADS_EVERY, SWEPT_AT_ONCE_MAX
from analytics_export.manifest import manifest_key
from analytics_export.settings import Settings
from analytics_export.storage import ObjectStore, StorageError
from analytics_export.waiting import first_of

_QUERIES = load_queries("analytics_export", "housekeeping")
_EVERYBODY = scope_for_own_work()
_EVERY_SECONDS = STALE_UPLOADS_EVERY.total_seconds()

log = structlog.get_logger()


class Housekeeping:
    """Whoever ends a job sets `due`."""

    def __init__(self, settings: Settings, database: WriteDatabase, store: ObjectStore, due: asyncio.Event) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._stale_checked_at: float | None = None
        self._due = due

    async def run(self, stop: asyncio.Event) -> None:
        """Work until stopped: when something is due, and at least every `EXPORT_WORKER_INTERVAL`."""
        interval_seconds = self._settings.export_worker_interval.total_seconds()
        while not stop.is_set():
            self._due.clear()
            try:
                await self._expire()
                await self._sweep()
                await self._revoke_left_uploads()
                await self._abort_unknown_uploads()
            except (*DATABASE_TROUBLE, StorageError) as error:
                log.warning("housekeeping_failed", error=f"{type(error).__name__}: {error}", retrying=True)
                await sleep_unless_stopped(stop, interval_seconds)
            await first_of(stop.wait(), self._due.wait(), asyncio.sleep(interval_seconds))

    async def _expire(self) -> None:
        async with self._database.write(_EVERYBODY) as session:
            expired = await expire(session, self._settings.export_retention)
        for job in expired:
            metrics.JOBS_EXPIRED.inc()
            log.info("export_expired", job_id=str(job.job_id), org_id=str(job.org_id))

    async def _sweep(self) -> None:
        """Remove what is left of jobs that ended without a file, or whose file has expired."""
        async with self._database.write(_EVERYBODY) as session:
            jobs = await unclean(session)
        metrics.UNCLEAN_JOBS.set(len(jobs))
        for job in jobs:
            key = object_key(job)
            for each in (manifest_key(key), key):
                await self._store.discard(each)
            scope = scope_for_accepted_job(job.org_id)
            async with self._database.write(scope) as session:
                await cleaned(session, scope, job)
            metrics.UNCLEAN_JOBS.dec()

    async def _revoke_left_uploads(self) -> None:
        """Look at every job once more, long after its end, by its keys: rclone and MinIO list uploads no other way."""
        async with self._database.write(_EVERYBODY) as session:
            jobs = await unswept(session)
        for job in jobs:
            key = object_key(job)
            revoked = [await self._store.revoke_uploads(each) for each in (manifest_key(key), key)]
            if any(revoked):
                log.info("left_uploads_revoked", job_id=str(job.job_id), uploads=sum(revoked))
            scope = scope_for_accepted_job(job.org_id)
            async with self._database.write(scope) as session:
                await swept(session, scope, job)

    async def _abort_unknown_uploads(self) -> None:
        """Abort old uploads of keys that no job has, as after a restored backup; where the storage lists them."""
        if self._stale_checked_at is not None and monotonic() - self._stale_checked_at < _EVERY_SECONDS:
            return
        for prefix in self._settings.prefixes:
            aborted = await self._store.abort_uploads_before(clock.now() - STALE_UPLOAD_AGE, f"{prefix}/")
            if aborted:
                log.info("unknown_uploads_aborted", prefix=prefix, uploads=aborted)
        self._stale_checked_at = monotonic()


# tidy: org-scope — files of every organisation expire
async def expire(session: WriteSession, retention: timedelta) -> list[Job]:
    """succeeded → expired, of jobs whose time is over; the retention is that of jobs from before there was a time."""
    return [job_from_row(row) for row in await session.fetch(_QUERIES["expire_jobs"], retention, SWEPT_AT_ONCE_MAX)]


# tidy: org-scope — as in expire
async def unclean(session: WriteSession) -> list[Job]:
    """Ended jobs without a file of which something may be left in the storage, and whose worker is gone."""
    return [job_from_row(row) for row in await session.fetch(_QUERIES["unclean_jobs"], SWEPT_AT_ONCE_MAX)]


# tidy: org-scope — as in expire
async def unswept(session: WriteSession) -> list[Job]:
    """Jobs that ended `STALE_UPLOAD_AGE` ago and whose uploads were not looked for since."""
    return [
        job_from_row(row) for row in await session.fetch(_QUERIES["unswept_jobs"], STALE_UPLOAD_AGE, SWEPT_AT_ONCE_MAX)
    ]


async def swept(session: WriteSession, scope: OrgScope, job: Job) -> None:
    """No upload of the job is left."""
    await session.execute(_QUERIES["mark_swept"], scope.org_id, job.job_id)


async def cleaned(session: WriteSession, scope: OrgScope, job: Job) -> None:
    """Nothing is left of the job."""
    await session.execute(_QUERIES["mark_cleaned"], scope.org_id, job.job_id)
