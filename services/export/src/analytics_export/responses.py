"""What the API answers with. Field names and meanings are the contract; the docstrings end up in it."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.http.app import API_PREFIX
from analytics_export.filters import Filters
from analytics_export.formats.catalogue import Format
from analytics_export.jobs import Job, JobStatus
from analytics_export.outcomes import Confidence
from analytics_export.ranges import Granularity
from analytics_export.templates import TemplateName
from analytics_export.totals import Totals

ExactCents = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]{6}$", description="Exact cents, as text.")]


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


class ExportTotals(_Answer, frozen=True, kw_only=True):
    """Sums over the rows of the file, from the snapshot that it was written from."""

    events: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_estimate_cents: ExactCents


class ExportProgress(_Answer, frozen=True, kw_only=True):
    """How far the running attempt is, a second ago at most; at the end, what the file has."""

    rows: int
    bytes: int


class WebhookCall(_Answer, frozen=True, kw_only=True):
    """The call to the webhook: made when the export has ended, and again until somebody takes it or time is up."""

    url: str
    attempts: int
    delivered_at: datetime | None
    error: str | None


class ExportLinks(_Answer, frozen=True, kw_only=True):
    """Paths on this host; `download` and `manifest` are null until there is a file."""

    self: str
    download: str | None
    manifest: str | None


class Export(_Answer, frozen=True, kw_only=True):
    """One export. `checksum` is the SHA-256 of the file in hexadecimal; models [] means all of them.

    Files of the same parameters are revisions of each other: equal bytes have the same `revision`, and a file that has
    changed since, by late events for example, the next one. `watermark` is the time before which everything accepted is
    in the file, `confidence` says whether that covers its period.

    `status` goes from pending over running to succeeded or failed; it is canceled by `DELETE`, and expired once the
    file has been removed, at `expiresAt`. A failed attempt puts it back to pending, with the reason in `error`, until
    the attempts are used up. `scheduleId` is that of the schedule that asked for it.
    """

    job_id: UUID
    org_id: UUID
    status: JobStatus
    template: TemplateName
    granularity: Granularity
    format: Format
    time_range: ExportRange
    timezone: str
    group_by: list[str]
    models: list[str]
    filters: Filters
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    attempts: int
    progress: ExportProgress
    row_count: int | None
    size_bytes: int | None
    checksum: str | None
    totals: ExportTotals | None
    watermark: datetime | None
    confidence: Confidence | None
    revision: int | None
    initiated_by: str
    schedule_id: UUID | None
    webhook: WebhookCall | None
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
    path, request = export_path(job), job.request
    error = ExportError(code=job.error_code, detail=job.error_detail or "") if job.error_code else None
    there = job.status is JobStatus.SUCCEEDED
    done = there or job.status is JobStatus.EXPIRED
    return Export(
        job_id=job.job_id,
        org_id=job.org_id,
        status=job.status,
        template=request.template,
        granularity=request.granularity,
        format=request.format,
        time_range=ExportRange(start=request.start, end=request.end),
        timezone=request.timezone,
        group_by=list(request.group_by),
        models=request.filters.model_id,
        filters=msgspec.structs.replace(request.filters, model_id=[]),
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        expires_at=job.expires_at,
        attempts=job.attempt,
        progress=ExportProgress(rows=job.rows_written, bytes=job.bytes_written),
        row_count=job.row_count,
        size_bytes=job.size_bytes,
        # A running attempt has written down what it is about to make.
        checksum=job.checksum_sha256 if done else None,
        totals=_totals(job.totals) if job.totals else None,
        watermark=job.watermark,
        confidence=job.confidence,
        revision=job.revision if done else None,
        initiated_by=request.requested_by,
        schedule_id=job.schedule_id,
        webhook=_webhook(job),
        error=error,
        links=ExportLinks(
            self=path, download=f"{path}/download" if there else None, manifest=f"{path}/manifest" if there else None
        ),
    )


def _webhook(job: Job) -> WebhookCall | None:
    if job.webhook_url is None:
        return None
    delivered_at = job.webhook_ended_at if job.webhook_error is None else None
    return WebhookCall(
        url=job.webhook_url, attempts=job.webhook_attempts, delivered_at=delivered_at, error=job.webhook_error
    )


def _totals(totals: Totals) -> ExportTotals:
    return ExportTotals(
        events=totals.events,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        cached_input_tokens=totals.cached_input_tokens,
        reasoning_tokens=totals.reasoning_tokens,
        cost_estimate_cents=str(totals.cost_estimate_cents),
    )
