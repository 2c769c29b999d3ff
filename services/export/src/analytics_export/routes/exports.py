"""`/analytics/v1/orgs/{orgId}/exports`: ask for an export, follow it, fetch it."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, JSONBody, PathParameter, QueryParameter
from litestar.response import Redirect

from analytics_core.access import Action, Decision, OrgScope
from analytics_core.database import ReadSession, WriteDatabase
from analytics_core.errors import Conflict, InvalidRequest, NotFound
from analytics_core.http.app import API_PREFIX
from analytics_core.http.parameters import refuse_unknown
from analytics_core.http.problems import problem_responses
from analytics_core.messages import ExportCompleted, ExportRequested
from analytics_export import jobs, metrics
from analytics_export.creating import KEY, take_up
from analytics_export.delivery import filename
from analytics_export.formats.catalogue import FORMATS
from analytics_export.jobs import Job, JobPosition, JobRequest, JobStatus
from analytics_export.known_models import require_known_models
from analytics_export.limits import (
    CURSOR_CHARACTERS_MAX,
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    PAGE_JOBS_DEFAULT,
    PAGE_JOBS_MAX,
)
from analytics_export.paging import decode_cursor, encode_cursor
from analytics_export.requests import CreateExport, job_request
from analytics_export.responses import Export, ExportList, export_from_job, export_path
from analytics_export.rows import NotKeptError, source_of
from analytics_export.settings import Settings
from analytics_export.storage import ObjectStore
from analytics_export.wakeups import WakeUps

PATH = f"{API_PREFIX}/orgs/{{orgId:uuid}}/exports"
BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
NOT_STORED = {"Cache-Control": "no-store"}
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name=KEY, required=False, max_length=IDEMPOTENCY_KEY_CHARACTERS_MAX,
        # Documented alone: `creating` checks it with a better message. HTTP takes away spaces at both ends.
        schema_extra={"pattern": "^[!-~]([ -~]*[!-~])?$"},
        description="Names this request, so that it can be sent again without asking for a second export.",
    ),
]  # fmt: skip
_WHY_NO_FILE = {
    JobStatus.PENDING: "the export is waiting; its file comes when `status` is succeeded",
    JobStatus.RUNNING: "the export is being written; its file comes when `status` is succeeded",
    JobStatus.FAILED: "the export failed, see its `error`; create it again",
    JobStatus.CANCELED: "the export was canceled; create it again",
    JobStatus.EXPIRED: "the file was removed when it expired; create the export again",
    JobStatus.SUCCEEDED: "the export has no file",
}


@post(
    PATH,
    status_code=202,
    opt={"action": Action.EXPORTS_CREATE},
    operation_id="createExport",
    summary="Ask for an export",
    response_description="The job, waiting",
    response_headers=[ResponseHeader(name="Location", description="Where to follow the job.", documentation_only=True)],
    tags=["exports"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 413, 422, 429, 503),
)
async def create_export(
    data: JSONBody[CreateExport],
    idempotency_key: IdempotencyKey = None,
    *,
    org_scope: NamedDependency[OrgScope],
    decision: NamedDependency[Decision],
    settings: NamedDependency[Settings],
    database: NamedDependency[WriteDatabase],
    wakeups: NamedDependency[WakeUps],
) -> Response[Export]:
    """Queues a job and answers at once; `Location` is where to follow it.

    The file holds the hours or days that start within [start, end), as the usage API counts them; a monthly one holds
    the same days, summed by month. Raw events are those that occurred in the range.

    A request that is sent again with the same `Idempotency-Key` and body is answered with the same export as it stands
    (and `Idempotency-Replayed: true`); with another body it is refused.
    """
    request = job_request(data, settings, decision.principal.subject)
    async with database.write(org_scope) as session:
        await require_known_models(session, org_scope, data)
        await _require_kept(session, org_scope, request)
        taken = await take_up(session, org_scope, data, request, settings=settings, idempotency_key=idempotency_key)
    headers = {**NOT_STORED, "Location": export_path(taken.job)}
    if taken.repeated:
        headers["Idempotency-Replayed"] = "true"
    else:
        wakeups.announce_request(ExportRequested(job_id=taken.job.job_id))
    return Response(export_from_job(taken.job), status_code=202, headers=headers)


async def _require_kept(session: ReadSession, scope: OrgScope, request: JobRequest) -> None:
    try:
        await source_of(session, scope, request)
    except NotKeptError as error:
        raise InvalidRequest.field("timeRange.start", str(error)) from None


@get(
    PATH,
    opt={"action": Action.EXPORTS_READ},
    operation_id="listExports",
    summary="List exports, newest first",
    response_description="A page of exports",
    tags=["exports"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 422, 503),
)
async def list_exports(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    database: NamedDependency[WriteDatabase],
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_JOBS_MAX)] = PAGE_JOBS_DEFAULT,
    cursor: Annotated[str | None, QueryParameter(max_length=CURSOR_CHARACTERS_MAX)] = None,
) -> Response[ExportList]:
    """The organisation's exports; `nextCursor` is null on the last page."""
    refuse_unknown(request, "limit", "cursor")
    try:
        after = decode_cursor(cursor) if cursor is not None else None
    except ValueError as error:
        raise InvalidRequest.field("cursor", str(error)) from None
    async with database.read(org_scope) as session:
        # One more than asked for tells whether another page follows.
        found = await jobs.newest(session, org_scope, limit=limit + 1, after=after)
    page = found[:limit]
    more = len(found) > limit
    next_cursor = encode_cursor(JobPosition(page[-1].created_at, page[-1].job_id)) if more else None
    return Response(
        ExportList(items=[export_from_job(job) for job in page], next_cursor=next_cursor), headers=NOT_STORED
    )


@get(
    f"{PATH}/{{jobId:uuid}}",
    opt={"action": Action.EXPORTS_READ},
    operation_id="getExport",
    summary="Show an export",
    response_description="The export as it stands",
    tags=["exports"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 503),
)
async def get_export(
    job_id: Annotated[UUID, PathParameter(name="jobId")],
    org_scope: NamedDependency[OrgScope],
    database: NamedDependency[WriteDatabase],
) -> Response[Export]:
    """The state of one export; `checksum` and `rowCount` are those of the file once it has succeeded."""
    async with database.read(org_scope) as session:
        job = await find_job(session, org_scope, job_id)
    return Response(export_from_job(job), headers=NOT_STORED)


@delete(
    f"{PATH}/{{jobId:uuid}}",
    status_code=200,
    opt={"action": Action.EXPORTS_CREATE},
    operation_id="cancelExport",
    summary="Cancel an export",
    response_description="The export, canceled",
    tags=["exports"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 409, 503),
)
async def cancel_export(
    job_id: Annotated[UUID, PathParameter(name="jobId")],
    org_scope: NamedDependency[OrgScope],
    database: NamedDependency[WriteDatabase],
    wakeups: NamedDependency[WakeUps],
) -> Response[Export]:
    """Ends an export that waits or runs; nothing of it stays in the storage. Canceled twice is canceled."""
    async with database.write(org_scope) as session:
        canceled = await jobs.cancel(session, org_scope, job_id)
        job = canceled or await find_job(session, org_scope, job_id)
    if job.status is not JobStatus.CANCELED:
        raise Conflict(f"the export has ended already: it is {job.status}")
    if canceled is not None:
        metrics.JOBS_CANCELED.inc()
        wakeups.announce_end(ExportCompleted(job_id=job.job_id, org_id=job.org_id, status=job.status))
    return Response(export_from_job(job), headers=NOT_STORED)


@get(
    f"{PATH}/{{jobId:uuid}}/download",
    status_code=302,
    opt={"action": Action.EXPORTS_DOWNLOAD},
    operation_id="downloadExport",
    summary="Fetch an export's file",
    response_description="The file is at `Location`, for a limited time",
    tags=["exports"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 409, 503),
)
async def download_export(
    job_id: Annotated[UUID, PathParameter(name="jobId")],
    org_scope: NamedDependency[OrgScope],
    settings: NamedDependency[Settings],
    database: NamedDependency[WriteDatabase],
    store: NamedDependency[ObjectStore],
) -> Redirect:
    """Redirects to a signed URL of the file, made for this request and nowhere kept.

    Whoever has the URL can read the file until it runs out (EXPORT_SIGNED_URL_TTL).
    """
    async with database.read(org_scope) as session:
        job = await find_job(session, org_scope, job_id)
    if job.status is not JobStatus.SUCCEEDED or job.object_key is None:
        raise Conflict(_WHY_NO_FILE[job.status])
    url = store.signed_url(
        job.object_key,
        filename=filename(job),
        media_type=FORMATS[job.request.format].media_type,
        valid_for=settings.export_signed_url_ttl,
    )
    return Redirect(url, status_code=302, headers={**NOT_STORED, "Referrer-Policy": "no-referrer"})


async def find_job(session: ReadSession, scope: OrgScope, job_id: UUID) -> Job:
    """The organisation's job. Raises `NotFound`."""
    job = await jobs.find(session, scope, job_id)
    if job is None:
        raise NotFound(f"there is no export {job_id} in this organisation")
    return job


EXPORT_ROUTES: list[Any] = [
    create_export,
    list_exports,
    get_export,
    cancel_export,
    download_export,
]
