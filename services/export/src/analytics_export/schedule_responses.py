"""What the API says of schedules. Field names and meanings are the contract; the docstrings end up in it."""

from datetime import datetime
from uuid import UUID

import msgspec

from analytics_core.http.app import API_PREFIX
from analytics_export.jobs import JobStatus
from analytics_export.outcomes import Confidence
from analytics_export.requests import ExportQuestion
from analytics_export.schedules import Run, Schedule
from analytics_export.settings import Settings


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class ScheduleNextRun(_Answer, frozen=True, kw_only=True):
    """The period that is exported next: when it is over and its numbers are final, at `latestAt` in any case."""

    period_start: datetime
    period_end: datetime
    latest_at: datetime


class ScheduleLastRun(_Answer, frozen=True, kw_only=True):
    """The last period that was exported, and how its export stands."""

    period_start: datetime
    period_end: datetime
    job_id: UUID
    status: JobStatus
    confidence: Confidence | None
    completed_at: datetime | None
    export: str


class ExportSchedule(_Answer, frozen=True, kw_only=True):
    """One schedule. `nextRun` is null while it is not enabled.

    `periodsSkipped` counts periods that were given up because too many had been missed, `lastError` says why a period
    that is over has no export yet. A schedule is its organisation's and outlives whoever made it: its exports are made
    in the name of `updatedBy`, who has changed it last.
    """

    schedule_id: UUID
    org_id: UUID
    name: str
    cron: str
    export: ExportQuestion
    prefix: str
    webhook_url: str | None
    enabled: bool
    created_by: str
    created_at: datetime
    updated_at: datetime
    updated_by: str
    next_run: ScheduleNextRun | None
    last_run: ScheduleLastRun | None
    periods_skipped: int
    last_error: str | None


class ExportScheduleList(_Answer, frozen=True, kw_only=True):
    """All schedules of the organisation, by name."""

    items: list[ExportSchedule]


def schedule_path(org_id: UUID, schedule_id: UUID) -> str:
    """Where the API shows this schedule."""
    return f"{API_PREFIX}/orgs/{org_id}/export-schedules/{schedule_id}"


def schedule_answer(schedule: Schedule, settings: Settings) -> ExportSchedule:
    """A schedule as the API shows it."""
    plan, period = schedule.plan, schedule.next_period
    next_run = ScheduleNextRun(
        period_start=period.start, period_end=period.end, latest_at=period.end + settings.export_schedule_deadline
    )
    return ExportSchedule(
        schedule_id=schedule.schedule_id,
        org_id=schedule.org_id,
        name=plan.name,
        cron=plan.cron,
        export=plan.question,
        prefix=plan.prefix,
        webhook_url=plan.webhook_url,
        enabled=plan.enabled,
        created_by=schedule.created_by,
        created_at=schedule.created_at,
        updated_at=schedule.updated_at,
        updated_by=schedule.updated_by,
        next_run=next_run if plan.enabled else None,
        last_run=_last_run(schedule.org_id, schedule.last_run) if schedule.last_run else None,
        periods_skipped=schedule.periods_skipped,
        last_error=schedule.last_error,
    )


def _last_run(org_id: UUID, run: Run) -> ScheduleLastRun:
    return ScheduleLastRun(
        period_start=run.period.start,
        period_end=run.period.end,
        job_id=run.job_id,
        status=run.status,
        confidence=run.confidence,
        completed_at=run.completed_at,
        export=f"{API_PREFIX}/orgs/{org_id}/exports/{run.job_id}",
    )
