"""Export jobs as callers see them.

pending ─► running ─► succeeded ─► expired
   ▲          │
   └──────────┴─► failed

This module creates and reads them; every step from `pending` on belongs to the worker, in `leases`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession, WriteSession
from analytics_core.sql import load_queries
from analytics_export.limits import OPEN_JOBS_PER_ORG_MAX
from analytics_export.ranges import Granularity

_QUERIES = load_queries("analytics_export", "jobs")


class JobStatus(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"


class Format(StrEnum):
    """The kind of file that an export writes."""

    CSV = "csv"


class ErrorCode(StrEnum):
    """Why an attempt failed; stable, callers may switch on it."""

    STORAGE_UNAVAILABLE = "storage_unavailable"
    STORAGE_DENIED = "storage_denied"
    BUCKET_MISSING = "bucket_missing"
    DATABASE_UNAVAILABLE = "database_unavailable"
    TIMED_OUT = "timed_out"
    TOO_LARGE = "too_large"
    WORKER_LOST = "worker_lost"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What to export. No models means all of them."""

    granularity: Granularity
    format: Format
    start: datetime
    end: datetime
    models: tuple[str, ...]
    requested_by: str


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
    error_code: str | None
    error_detail: str | None


def job_from_row(row: Any) -> Job:
    """A row with all columns of `export_jobs`."""
    request = JobRequest(
        Granularity(row["granularity"]),
        Format(row["format"]),
        row["range_start"],
        row["range_end"],
        tuple(row["model_ids"]),
        row["requested_by"],
    )
    same_name = (
        "created_at", "started_at", "completed_at", "attempt", "object_key", "row_count", "size_bytes",
        "checksum_sha256", "error_code", "error_detail",
    )  # fmt: skip
    return Job(row["job_id"], row["org_id"], JobStatus(row["status"]), request, *(row[name] for name in same_name))


async def create(session: WriteSession, scope: OrgScope, job_id: UUID, request: JobRequest) -> Job | None:
    """Queue a job; None when `OPEN_JOBS_PER_ORG_MAX` of the organisation's are open (concurrent calls may pass it)."""
    row = await session.fetch_row(
        _QUERIES["create_job"],
        job_id,
        scope.org_id,
        request.granularity,
        request.format,
        request.start,
        request.end,
        list(request.models),
        request.requested_by,
        OPEN_JOBS_PER_ORG_MAX,
    )
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
