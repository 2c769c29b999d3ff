"""Creates the jobs of schedules: each period one, when it is over and its numbers are final.

A period's job and the step to the next period are one transaction under the schedule's row lock, and the job's id is
made of schedule and period: neither restarts nor several schedulers make it twice.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import structlog

from analytics_core import clock
from analytics_core.access import OrgScope, scope_for_accepted_job, scope_for_own_work
from analytics_core.database import WriteDatabase, WriteSession
from analytics_core.errors import AnalyticsError, InvalidRequest
from analytics_core.lifecycle import sleep_unless_stopped
from analytics_core.messages import ExportRequested
from analytics_export import jobs, metrics, schedules
from analytics_export.calendars import Calendar, CalendarError
from analytics_export.delivery import new_object_key
from analytics_export.jobs import NewJob, Quota
from analytics_export.leases import DATABASE_TROUBLE
from analytics_export.limits import CATCH_UP_PERIODS_MAX, OPEN_JOBS_PER_ORG_MAX
from analytics_export.requests import TimeRange, export_of, job_request
from analytics_export.schedules import Period, Plan, Schedule
from analytics_export.settings import Settings
from analytics_export.wakeups import WakeUps

_EVERYBODY = scope_for_own_work()
log = structlog.get_logger()


class NoJobError(AnalyticsError):
    """A period that is due got no job; the text is for the schedule's owner."""


@dataclass(frozen=True, slots=True)
class _Step:
    """The period to export, the one after it, and how many were given up before it."""

    period: Period
    following: Period
    skipped: int


def calendar_of(plan: Plan) -> Calendar:
    """By whose periods a plan goes."""
    return Calendar(plan.cron, ZoneInfo(plan.question.timezone))


def step(schedule: Schedule, now: datetime) -> _Step:
    """Of the periods that are over, the oldest of the last `CATCH_UP_PERIODS_MAX`. Raises `CalendarError`."""
    calendar = calendar_of(schedule.plan)
    missed = [schedule.next_period]
    skipped = 0
    while (end := calendar.after(missed[-1].end)) <= now:
        missed.append(Period(missed[-1].end, end))
        if len(missed) > CATCH_UP_PERIODS_MAX:
            missed.pop(0)
            skipped += 1
    following = missed[1] if len(missed) > 1 else Period(missed[0].end, end)
    return _Step(missed[0], following, skipped)


def period_name(period: Period, zone: ZoneInfo) -> str:
    """YYYYMM for whole months, YYYYMMDD for what begins at midnight, else with the time; as the zone's clocks show."""
    start, end = period.start.astimezone(zone), period.end.astimezone(zone)
    at_midnight = f"{start:%H%M}" == "0000"
    if at_midnight and start.day == end.day == 1 and (end.year * 12 + end.month) - (start.year * 12 + start.month) == 1:
        return f"{start:%Y%m}"
    return f"{start:%Y%m%d}" if at_midnight else f"{start:%Y%m%dT%H%M}"


class Scheduler:
    """One of possibly many: they share the schedules by their row locks."""

    def __init__(self, settings: Settings, database: WriteDatabase, wakeups: WakeUps) -> None:
        self._settings = settings
        self._database = database
        self._wakeups = wakeups

    async def run(self, stop: asyncio.Event) -> None:
        """Look every `EXPORT_WORKER_INTERVAL`, until stopped."""
        while not stop.is_set():
            try:
                await self._create_all(stop)
                async with self._database.read(_EVERYBODY) as session:
                    metrics.SCHEDULE_DUE_AGE.set(await schedules.oldest_due_seconds(session))
            except DATABASE_TROUBLE as error:
                log.warning("scheduling_failed", error=f"{type(error).__name__}: {error}", retrying=True)
            await sleep_unless_stopped(stop, self._settings.export_worker_interval.total_seconds())

    async def _create_all(self, stop: asyncio.Event) -> None:
        passed_over: set[UUID] = set()
        while not stop.is_set():
            async with self._database.write(_EVERYBODY) as session:
                schedule = await schedules.due(session, self._settings.export_schedule_deadline, passed_over)
                if schedule is None:
                    return
                scope = scope_for_accepted_job(schedule.org_id)
                try:
                    job_id = await self._create(session, scope, schedule)
                except (NoJobError, CalendarError, InvalidRequest) as error:
                    await schedules.note_error(session, scope, schedule, str(error))
                    log.warning("schedule_without_job", schedule_id=str(schedule.schedule_id), error=str(error))
                    passed_over.add(schedule.schedule_id)
                    continue
            self._wakeups.announce_request(ExportRequested(job_id=job_id))

    async def _create(self, session: WriteSession, scope: OrgScope, schedule: Schedule) -> UUID:
        now, settings, plan = clock.now(), self._settings, schedule.plan
        due = step(schedule, now)
        time_range = TimeRange(start=due.period.start, end=due.period.end)
        request = job_request(export_of(plan.question, time_range), settings, schedule.updated_by)
        job_id = uuid5(schedule.schedule_id, due.period.start.astimezone(UTC).isoformat())
        name = period_name(due.period, calendar_of(plan).zone)
        new = NewJob(
            job_id=job_id,
            request=request,
            object_key=new_object_key(plan.prefix, schedule.org_id, job_id, request.format, name),
            schedule_id=schedule.schedule_id,
            webhook_url=plan.webhook_url,
        )
        job = await jobs.create(session, scope, new, Quota(OPEN_JOBS_PER_ORG_MAX, settings.export_org_bytes_max))
        # None also says that the period has its job; it never should, and then there is nothing to do but to go on.
        if job is None and await jobs.find(session, scope, job_id) is None:
            raise NoJobError("the organisation is at its limit of waiting exports or kept bytes")
        await schedules.move_on(session, scope, schedule, due.following, due.skipped, job_id)
        metrics.SCHEDULE_PERIODS.labels("exported").inc()
        metrics.SCHEDULE_PERIODS.labels("skipped").inc(due.skipped)
        log.info("schedule_period_due", schedule_id=str(schedule.schedule_id), job_id=str(job_id), period=name)
        return job_id
