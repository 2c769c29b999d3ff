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

import msgspec

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession, WriteSession
from analytics_core.sql import load_queries
from analytics_export.filters import Filters
from analytics_export.formats.catalogue import Format
from analytics_export.limits import OPEN_JOBS_PER_ORG_MAX
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
    EXPIRED = "expired"


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
        "checksum_sha256", "watermark", "revision", "error_code", "error_detail",
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
        request.filters.model_id,
        request.requested_by,
        OPEN_JOBS_PER_ORG_MAX,
        request.template,
        request.timezone,
        list(request.group_by),
        msgspec.json.encode(msgspec.structs.replace(request.filters, model_id=[])).decode(),
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
