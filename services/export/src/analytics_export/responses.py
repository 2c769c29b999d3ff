"""What the API answers with. Field names and meanings are the contract; the docstrings end up in it."""

from datetime import datetime
from uuid import UUID

import msgspec

from analytics_core.http.app import API_PREFIX
from analytics_export.jobs import Format, Job, JobStatus
from analytics_export.ranges import Granularity


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class ExportRange(_Answer, frozen=True, kw_only=True):
    """As asked for, in UTC; the file holds the hours or days that start within [start, end)."""

    start: datetime
    end: datetime


class ExportError(_Answer, frozen=True, kw_only=True):
    """Why the last attempt failed: a stable code, and a sentence for people."""

    code: str
    detail: str


class ExportLinks(_Answer, frozen=True, kw_only=True):
    """Paths on this host; `download` is null until there is a file."""

    self: str
    download: str | None


class Export(_Answer, frozen=True, kw_only=True):
    """One export. `checksum` is the SHA-256 of the file in hexadecimal; models [] means all of them.

    `status` goes from pending over running to succeeded or failed. A failed attempt puts it back to pending, with the
    reason in `error`, until the attempts are used up.
    """

    job_id: UUID
    org_id: UUID
    status: JobStatus
    granularity: Granularity
    format: Format
    time_range: ExportRange
    models: list[str]
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    attempts: int
    row_count: int | None
    size_bytes: int | None
    checksum: str | None
    initiated_by: str
    error: ExportError | None
    links: ExportLinks


class ExportList(_Answer, frozen=True, kw_only=True):
    """A page of exports, newest first. `nextCursor` is null on the last one."""

    items: list[Export]
    next_cursor: str | None


def export_path(job: Job) -> str:
    """Where the API shows this job."""
    return f"{API_PREFIX}/orgs/{job.org_id}/exports/{job.job_id}"


def export_from_job(job: Job) -> Export:
    """A job as the API shows it."""
    path = export_path(job)
    error = ExportError(code=job.error_code, detail=job.error_detail or "") if job.error_code else None
    return Export(
        job_id=job.job_id,
        org_id=job.org_id,
        status=job.status,
        granularity=job.request.granularity,
        format=job.request.format,
        time_range=ExportRange(start=job.request.start, end=job.request.end),
        models=list(job.request.models),
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        attempts=job.attempt,
        row_count=job.row_count,
        size_bytes=job.size_bytes,
        checksum=job.checksum_sha256,
        initiated_by=job.request.requested_by,
        error=error,
        links=ExportLinks(self=path, download=f"{path}/download" if job.status is JobStatus.SUCCEEDED else None),
    )
