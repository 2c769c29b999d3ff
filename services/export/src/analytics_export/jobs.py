"""Export jobs as callers see them.

pending ─► running ─► succeeded ─► expired
   ▲ │       │ │ └──► failed
   │ └──► canceled    (running ─► canceled)
   └─────────┘

This module creates, reads and cancels them; the other steps are the worker's, in `leases` and `housekeeping`. A trigger
of the table refuses every step that is not drawn here.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession, WriteSession
from analytics_core.sql import load_queries
from analytics_export.filters import Filters
from analytics_export.formats.catalogue import Format
from analytics_export.outcomes import Confidence
from analytics_export.ranges import Granularity
from analytics_export.templates import TemplateName
from analytics_export.totals import Totals, totals_from_json

_QUERIES = load_queries("analytics_export", "jobs")


class JobStatus(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


class ErrorCode(StrEnum):
    """Why an attempt failed; stable, callers may switch on it."""

    STORAGE_UNAVAILABLE = "storage_unavailable"
    STORAGE_DENIED = "storage_denied"
    STORAGE_FULL = "storage_full"
    BUCKET_MISSING = "bucket_missing"
    DATABASE_UNAVAILABLE = "database_unavailable"
    TIMED_OUT = "timed_out"
    TOO_LARGE = "too_large"
    NOT_KEPT = "not_kept"
    WORKER_LOST = "worker_lost"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What to export, as `job_request` has checked it."""

    template: TemplateName
    format: Format
    granularity: Granularity
    start: datetime
    end: datetime
    timezone: str
    group_by: tuple[str, ...]
    filters: Filters
    requested_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be queued. `body_sha256` tells two bodies under one `idempotency_key` apart."""

    job_id: UUID
    request: JobRequest
    object_key: str
    idempotency_key: str | None = None
    body_sha256: str | None = None
    schedule_id: UUID | None = None
    webhook_url: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `export_jobs`."""

    job_id: UUID
    org_id: UUID
    status: JobStatus
    request: JobRequest
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    attempt: int
    object_key: str | None
    row_count: int | None
    size_bytes: int | None
    checksum_sha256: str | None
    totals: Totals | None
    watermark: datetime | None
    confidence: Confidence | None
    revision: int | None
    error_code: str | None
    error_detail: str | None
    rows_written: int
    bytes_written: int
    expires_at: datetime | None
    schedule_id: UUID | None
    body_sha256: str | None
    traceparent: str | None
    webhook_url: str | None
    webhook_attempts: int
    webhook_ended_at: datetime | None
    webhook_error: str | None


def job_from_row(row: Any) -> Job:
    """A row with all columns of `export_jobs`."""
    filters = msgspec.json.decode(row["filters"], type=Filters)
    request = JobRequest(
        template=TemplateName(row["template"]),
        format=Format(row["format"]),
        granularity=Granularity(row["granularity"]),
        start=row["range_start"],
        end=row["range_end"],
        timezone=row["timezone"],
        group_by=tuple(row["group_by"]),
        filters=msgspec.structs.replace(filters, model_id=list(row["model_ids"])),
        requested_by=row["requested_by"],
    )
    same_name = (
        "created_at", "started_at", "completed_at", "attempt", "object_key", "row_count", "size_bytes",
        "checksum_sha256", "watermark", "revision", "error_code", "error_detail", "rows_written", "bytes_written",
        "expires_at", "schedule_id", "body_sha256", "traceparent", "webhook_url", "webhook_attempts",
        "webhook_ended_at", "webhook_error",
    )  # fmt: skip
    return Job(
        job_id=row["job_id"],
        org_id=row["org_id"],
        status=JobStatus(row["status"]),
        request=request,
        totals=totals_from_json(row["totals"]) if row["totals"] else None,
        confidence=Confidence(row["confidence"]) if row["confidence"] else None,
        **{name: row[name] for name in same_name},
    )


@dataclass(frozen=True, slots=True)
class Quota:
    """What one organisation has of a shared service: jobs that wait or run, and bytes that are kept for it."""

    open_jobs: int
    kept_bytes: int


async def create(session: WriteSession, scope: OrgScope, new: NewJob, limit: Quota) -> Job | None:
    """Queue a job; None when the organisation is at the limit, or when its key or its schedule's period has a job.

    Concurrent calls may pass the limit by as many jobs as they are: it guards the shared queue, not money.
    """
    request = new.request
    row = await session.fetch_row(
        _QUERIES["create_job"],
        new.job_id,
        scope.org_id,
        request.granularity,
        request.format,
        request.start,
        request.end,
        list(request.filters.model_id),
        request.requested_by,
        request.template,
        request.timezone,
        list(request.group_by),
        msgspec.json.encode(msgspec.structs.replace(request.filters, model_id=())).decode(),
        new.object_key,
        new.idempotency_key,
        new.body_sha256,
        new.schedule_id,
        new.webhook_url,
        new.traceparent,
        limit.open_jobs,
        limit.kept_bytes,
    )
    return None if row is None else job_from_row(row)


async def used(session: ReadSession, scope: OrgScope) -> Quota:
    """What the organisation has now."""
    row = await session.fetch_row(_QUERIES["used_quota"], scope.org_id)
    return Quota(row["open_jobs"], row["kept_bytes"]) if row else Quota(0, 0)


async def find_by_key(session: ReadSession, scope: OrgScope, idempotency_key: str) -> Job | None:
    """The job that the organisation created under this key."""
    row = await session.fetch_row(_QUERIES["find_job_by_key"], scope.org_id, idempotency_key)
    return None if row is None else job_from_row(row)


async def cancel(session: WriteSession, scope: OrgScope, job_id: UUID) -> Job | None:
    """pending or running → canceled; None when there is no such job in such a state.

    The worker of a running one notices within `PROGRESS_SECONDS`, and what it has sent is removed.
    """
    row = await session.fetch_row(_QUERIES["cancel_job"], scope.org_id, job_id)
    return None if row is None else job_from_row(row)


async def find(session: ReadSession, scope: OrgScope, job_id: UUID) -> Job | None:
    """The job, if it is this organisation's."""
    row = await session.fetch_row(_QUERIES["find_job"], scope.org_id, job_id)
    return None if row is None else job_from_row(row)


@dataclass(frozen=True, slots=True)
class JobPosition:
    """Where a job stands in the list of its organisation's jobs."""

    created_at: datetime
    job_id: UUID


async def newest(session: ReadSession, scope: OrgScope, *, limit: int, after: JobPosition | None) -> list[Job]:
    """Up to `limit` jobs, newest first, from the one that follows `after`."""
    position = (after.created_at, after.job_id) if after else (None, None)
    rows = await session.fetch(_QUERIES["newest_jobs"], scope.org_id, *position, limit)
    return [job_from_row(row) for row in rows]
