"""Takes up what a caller asks for: once for each idempotency key, within the organisation's limits."""

import hashlib
from dataclasses import dataclass
from uuid import UUID, uuid4

import msgspec

from analytics_core.access import OrgScope
from analytics_core.database import WriteSession
from analytics_core.errors import InvalidRequest, TooManyRequests
from analytics_core.telemetry.traces import current_traceparent
from analytics_export import jobs
from analytics_export.delivery import new_object_key
from analytics_export.jobs import Job, JobRequest, NewJob, Quota
from analytics_export.limits import IDEMPOTENCY_KEY_CHARACTERS_MAX, OPEN_JOBS_PER_ORG_MAX
from analytics_export.requests import CreateExport
from analytics_export.settings import Settings

KEY = "Idempotency-Key"
RETRY_AFTER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Taken:
    """The job of a request, and whether an earlier request with the same key had created it."""

    job: Job
    repeated: bool


async def take_up(
    session: WriteSession,
    scope: OrgScope,
    body: CreateExport,
    request: JobRequest,
    *,
    settings: Settings,
    idempotency_key: str | None,
) -> Taken:
    """Queue the job of a checked body, or find the one that its key has already.

    Raises `InvalidRequest` for a key that stands for another body, `TooManyRequests` at the organisation's limits.
    """
    new = _new_job(scope.org_id, body, request, settings, _checked(idempotency_key))
    found = await _created_before(session, scope, new)
    if found is not None:
        return Taken(found, repeated=True)
    limit = Quota(OPEN_JOBS_PER_ORG_MAX, settings.export_org_bytes_max)
    job = await jobs.create(session, scope, new, limit)
    if job is not None:
        return Taken(job, repeated=False)
    # Refused by a limit, or by the same request that came in at the same moment and was quicker.
    found = await _created_before(session, scope, new)
    if found is not None:
        return Taken(found, repeated=True)
    raise TooManyRequests(
        _limit_reached(await jobs.used(session, scope), limit), retry_after_seconds=RETRY_AFTER_SECONDS
    )


def _new_job(org_id: UUID, body: CreateExport, request: JobRequest, settings: Settings, key: str | None) -> NewJob:
    job_id = uuid4()
    prefix = (body.delivery and body.delivery.prefix) or settings.prefixes[0]
    return NewJob(
        job_id=job_id,
        request=request,
        object_key=new_object_key(prefix, org_id, job_id, request.format),
        idempotency_key=key,
        body_sha256=hashlib.sha256(msgspec.json.encode(body)).hexdigest(),
        webhook_url=body.webhook.url if body.webhook else None,
        traceparent=current_traceparent(),
    )


def _checked(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= IDEMPOTENCY_KEY_CHARACTERS_MAX and key.isascii() and key.isprintable()):
        raise InvalidRequest.field(
            KEY, f"expected at most {IDEMPOTENCY_KEY_CHARACTERS_MAX} printable ASCII characters, a UUID for example"
        )
    return key


async def _created_before(session: WriteSession, scope: OrgScope, new: NewJob) -> Job | None:
    if new.idempotency_key is None:
        return None
    job = await jobs.find_by_key(session, scope, new.idempotency_key)
    if job is not None and job.body_sha256 != new.body_sha256:
        raise InvalidRequest.field(KEY, f"was used for another body, that of export {job.job_id}: choose a new key")
    return job


def _limit_reached(used: Quota, limit: Quota) -> str:
    if used.kept_bytes >= limit.kept_bytes:
        return (
            f"{used.kept_bytes} bytes of exports are kept for this organisation, the limit is {limit.kept_bytes};"
            " they are removed as they expire"
        )
    return f"{limit.open_jobs} exports of this organisation are waiting or running, which is the limit"
