"""Schedules as rows: what to export, by which calendar, and which period comes next."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from analytics_core.access import OrgScope
from analytics_core.buckets import SETTLE
from analytics_core.database import ReadSession, WriteSession
from analytics_core.sql import load_queries
from analytics_export.jobs import JobStatus
from analytics_export.limits import SCHEDULES_PER_ORG_MAX
from analytics_export.outcomes import Confidence
from analytics_export.requests import ExportQuestion

_QUERIES = load_queries("analytics_export", "schedules")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a schedule's owner decides. The time zone is that of the question."""

    name: str
    cron: str
    question: ExportQuestion
    prefix: str
    webhook_url: str | None
    enabled: bool


@dataclass(frozen=True, slots=True)
class Period:
    """From a start, up to and without an end; both in UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """A period that has a job, and how that stands."""

    job_id: UUID
    period: Period
    status: JobStatus
    confidence: Confidence | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """One row of `export_schedules`; `next_period` has no job yet. `updated_by` answers for what it does."""

    schedule_id: UUID
    org_id: UUID
    plan: Plan
    created_by: str
    created_at: datetime
    updated_at: datetime
    updated_by: str
    next_period: Period
    periods_skipped: int
    last_run: Run | None
    last_error: str | None


def _schedule(row: Any) -> Schedule:
    last_run = None
    if row.get("last_status") is not None:
        last_run = Run(
            row["last_job_id"],
            Period(row["last_start"], row["last_end"]),
            JobStatus(row["last_status"]),
            Confidence(row["last_confidence"]) if row["last_confidence"] else None,
            row["last_completed_at"],
        )
    plan = Plan(
        name=row["name"],
        cron=row["cron"],
        question=msgspec.json.decode(row["question"], type=ExportQuestion),
        prefix=row["prefix"],
        webhook_url=row["webhook_url"],
        enabled=row["enabled"],
    )
    return Schedule(
        schedule_id=row["schedule_id"],
        org_id=row["org_id"],
        plan=plan,
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        updated_by=row["updated_by"] or row["created_by"],
        next_period=Period(row["period_start"], row["period_end"]),
        periods_skipped=row["periods_skipped"],
        last_run=last_run,
        last_error=row["last_error"],
    )


async def create(
    session: WriteSession, scope: OrgScope, schedule_id: UUID, plan: Plan, first: Period, created_by: str
) -> bool:
    """False when the name is taken or the organisation has `SCHEDULES_PER_ORG_MAX` of them."""
    found = await session.fetch_row(
        _QUERIES["create_schedule"],
        schedule_id,
        scope.org_id,
        *_columns(plan),
        created_by,
        first.start,
        first.end,
        SCHEDULES_PER_ORG_MAX,
    )
    return found is not None


async def shown(session: ReadSession, scope: OrgScope, schedule_id: UUID | None = None) -> list[Schedule]:
    """The organisation's schedules by name, or the one of this id, if there is one."""
    return [_schedule(row) for row in await session.fetch(_QUERIES["shown_schedules"], scope.org_id, schedule_id)]


async def lock(session: WriteSession, scope: OrgScope, schedule_id: UUID) -> bool:
    """Keep everybody else from moving the schedule on until the transaction ends; False when there is none."""
    return await session.fetch_row(_QUERIES["lock_schedule"], scope.org_id, schedule_id) is not None


async def change(
    session: WriteSession, scope: OrgScope, schedule_id: UUID, plan: Plan, *, period_end: datetime, changed_by: str
) -> None:
    """Follow another plan from the period under way on. Raises what the database raises for a name that is taken."""
    arguments = (scope.org_id, schedule_id, *_columns(plan), period_end, changed_by)
    await session.execute(_QUERIES["change_schedule"], *arguments)


async def delete(session: WriteSession, scope: OrgScope, schedule_id: UUID, deleted_by: str) -> bool:
    """Whether there was such a schedule; its exports stay."""
    return await session.execute(_QUERIES["delete_schedule"], scope.org_id, schedule_id, deleted_by) == 1


# tidy: org-scope — the scheduler serves every organisation's schedules in turn
async def due(session: WriteSession, deadline: timedelta, passed_over: Collection[UUID]) -> Schedule | None:
    """The schedule whose period is to be exported now, locked until the transaction ends."""
    row = await session.fetch_row(_QUERIES["due_schedule"], SETTLE, deadline, list(passed_over))
    return None if row is None else _schedule(row)


async def move_on(
    session: WriteSession, scope: OrgScope, schedule: Schedule, to: Period, skipped: int, job_id: UUID
) -> None:
    """The period has this job: on to the next one."""
    await session.execute(_QUERIES["move_on"], scope.org_id, schedule.schedule_id, to.start, to.end, skipped, job_id)


async def note_error(session: WriteSession, scope: OrgScope, schedule: Schedule, error: str) -> None:
    """Why the period has no job although it is due."""
    await session.execute(_QUERIES["note_error"], scope.org_id, schedule.schedule_id, error)


# tidy: org-scope — one number for operators, no organisation's data
async def oldest_due_seconds(session: ReadSession) -> float:
    """For how long a period has been over without having a job; 0 when there is none."""
    return float(await session.fetch_value(_QUERIES["oldest_due"]))


def _columns(plan: Plan) -> tuple[object, ...]:
    question = msgspec.json.encode(plan.question).decode()
    return (plan.name, plan.cron, plan.question.timezone, question, plan.prefix, plan.webhook_url, plan.enabled)
