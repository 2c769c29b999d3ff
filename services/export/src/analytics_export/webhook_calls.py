"""Makes the calls to webhooks that are due, again and again until they are taken or given up.

What is due and how often it was tried is in the job's row, so calls survive restarts; each is made at least once, and
its `webhook-id` tells a receiver which it has had already.
"""

import asyncio
from datetime import timedelta

import msgspec
import structlog
from opentelemetry import trace
from opentelemetry.propagate import extract

from analytics_core import clock
from analytics_core.access import OrgScope, scope_for_accepted_job, scope_for_own_work
from analytics_core.database import WriteDatabase, WriteSession
from analytics_core.lifecycle import sleep_unless_stopped
from analytics_core.sql import load_queries
from analytics_export import metrics, webhooks
from analytics_export.jobs import Job, job_from_row
from analytics_export.leases import DATABASE_TROUBLE
from analytics_export.limits import (
    WEBHOOK_ATTEMPTS_MAX,
    WEBHOOK_CALLS_MAX,
    WEBHOOK_RETRY_DELAY_MAX,
    WEBHOOK_TIMEOUT_SECONDS,
)
from analytics_export.responses import Export, export_from_job
from analytics_export.settings import Settings
from analytics_export.waiting import first_of
from analytics_export.webhooks import WebhookError

_QUERIES = load_queries("analytics_export", "webhooks")
_EVERYBODY = scope_for_own_work()
# Longer than any call, so that nobody takes it for dead while it lasts.
_CLAIM = timedelta(seconds=3 * WEBHOOK_TIMEOUT_SECONDS)

log = structlog.get_logger()
tracer = trace.get_tracer("analytics_export.webhook_calls")


class WebhookMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a call: `type` is `export.` and the status; `data` is the export, as `GET` shows it.

    It is expired when its file was removed before a call was taken.
    """

    type: str
    timestamp: str
    data: Export


class WebhookCalls:
    """A few callers side by side, so that one slow host does not hold up all others."""

    def __init__(self, settings: Settings, database: WriteDatabase, due: asyncio.Event) -> None:
        self._settings = settings
        self._database = database
        self._due = due

    async def run(self, stop: asyncio.Event) -> None:
        """Call until stopped."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WEBHOOK_CALLS_MAX):
                group.create_task(self._loop(stop))

    async def _loop(self, stop: asyncio.Event) -> None:
        interval_seconds = self._settings.export_worker_interval.total_seconds()
        while not stop.is_set():
            self._due.clear()
            try:
                async with self._database.write(_EVERYBODY) as session:
                    job = await claim(session, _CLAIM)
                if job is not None:
                    parent = extract({"traceparent": job.traceparent or ""})
                    with tracer.start_as_current_span("webhook call", context=parent, kind=trace.SpanKind.CLIENT):
                        await self._call(job)
                    continue
            except DATABASE_TROUBLE as error:
                log.warning("webhooks_in_trouble", error=f"{type(error).__name__}: {error}", retrying=True)
                await sleep_unless_stopped(stop, interval_seconds)
            await first_of(stop.wait(), self._due.wait(), asyncio.sleep(interval_seconds))

    async def _call(self, job: Job) -> None:
        scope = scope_for_accepted_job(job.org_id)
        error = await self._failure(job)
        given_up = error is not None and job.webhook_attempts >= WEBHOOK_ATTEMPTS_MAX
        metrics.WEBHOOK_CALLS.labels("given_up" if given_up else "failed" if error else "delivered").inc()
        if error is not None:
            log.warning("webhook_not_delivered", job_id=str(job.job_id), attempt=job.webhook_attempts, error=error)
        async with self._database.write(scope) as session:
            if error is None or given_up:
                await end(session, scope, job, error)
            else:
                await delay(session, scope, job, error, self._retry_delay(job.webhook_attempts))

    async def _failure(self, job: Job) -> str | None:
        """Why the call was not taken; None when it was."""
        url = job.webhook_url or ""
        now = clock.now()
        message = WebhookMessage(type=f"export.{job.status}", timestamp=now.isoformat(), data=export_from_job(job))
        body = msgspec.json.encode(message)
        try:
            head = webhooks.headers(self._settings, job.org_id, f"{job.job_id}.{job.status}", now, body)
            await webhooks.call(url, self._settings, head, body)
        except WebhookError as error:
            return str(error)
        return None

    def _retry_delay(self, attempts: int) -> timedelta:
        delay_: timedelta = self._settings.export_retry_delay * 2 ** (attempts - 1)
        return min(delay_, WEBHOOK_RETRY_DELAY_MAX)


# tidy: org-scope — callers serve every organisation's webhooks in turn
async def claim(session: WriteSession, duration: timedelta) -> Job | None:
    """Take the call that has been due for longest; it is nobody else's before the duration is over."""
    row = await session.fetch_row(_QUERIES["claim_webhook"], duration)
    return None if row is None else job_from_row(row)


async def end(session: WriteSession, scope: OrgScope, job: Job, error: str | None) -> None:
    """The call was taken, or with an error: given up."""
    await session.execute(_QUERIES["end_webhook"], scope.org_id, job.job_id, error)


async def delay(session: WriteSession, scope: OrgScope, job: Job, error: str, duration: timedelta) -> None:
    """Call again after the duration."""
    await session.execute(_QUERIES["delay_webhook"], scope.org_id, job.job_id, error, duration)
