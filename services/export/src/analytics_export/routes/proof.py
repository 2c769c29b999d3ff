"""`…/exports/{jobId}/manifest` and `…/exports/{jobId}/verify`: what a file says, and whether it still holds."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from litestar import MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter

from analytics_core.access import Action, OrgScope
from analytics_core.database import WriteDatabase
from analytics_core.errors import Conflict, TooManyRequests, Unavailable
from analytics_core.http.problems import problem_responses
from analytics_export.jobs import Job, JobStatus
from analytics_export.limits import VERIFICATIONS_MAX, VERIFIED_BYTES_MAX, VERIFIED_PATIENCE
from analytics_export.manifest import manifest_key
from analytics_export.routes.exports import BEARER, NOT_STORED, PATH, find_job
from analytics_export.storage import ObjectStore, StorageError
from analytics_export.verification import Verification, verify

_RETRY_AFTER_SECONDS = 5
# Each reads a file and counts events: more at once would starve the exports themselves.
_slots = asyncio.Semaphore(VERIFICATIONS_MAX)


@get(
    f"{PATH}/{{jobId:uuid}}/manifest",
    opt={"action": Action.EXPORTS_READ},
    operation_id="getExportManifest",
    summary="Read an export's manifest",
    media_type=MediaType.JSON,
    tags=["exports"],
    security=BEARER,
    responses={
        200: ResponseSpec(
            data_container=dict[str, Any],
            description="The manifest, byte for byte; its schema is contracts/exports/manifest.v1.schema.json",
            generate_examples=False,
        )
    }
    | problem_responses(401, 403, 404, 409, 503),
)
async def get_export_manifest(
    job_id: Annotated[UUID, PathParameter(name="jobId")],
    org_scope: NamedDependency[OrgScope],
    database: NamedDependency[WriteDatabase],
    store: NamedDependency[ObjectStore],
) -> Response[bytes]:
    """The document beside the file in the storage: parameters, totals, checksum, watermark, revision."""
    async with database.read(org_scope) as session:
        job = _with_file(await find_job(session, org_scope, job_id))
    try:
        document = b"".join([piece async for piece in store.read(manifest_key(job.object_key or ""))])
    except StorageError as error:
        raise Unavailable(error.detail) from error
    return Response(document, media_type=MediaType.JSON, headers=NOT_STORED)


@post(
    f"{PATH}/{{jobId:uuid}}/verify",
    status_code=200,
    opt={"action": Action.EXPORTS_READ},
    operation_id="verifyExport",
    summary="Compare an export with its sources",
    response_description="What was compared, and how it ended",
    tags=["exports"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 409, 429, 503),
)
async def verify_export(
    job_id: Annotated[UUID, PathParameter(name="jobId")],
    org_scope: NamedDependency[OrgScope],
    database: NamedDependency[WriteDatabase],
    store: NamedDependency[ObjectStore],
) -> Response[Verification]:
    """Reads the file again and adds up the usage API's totals, the rollups and the raw events anew.

    What takes too long for a request is skipped and says so; `analytics-export verify` does all of it.
    """
    async with database.read(org_scope) as session:
        job = _with_file(await find_job(session, org_scope, job_id))
    if _slots.locked():
        raise TooManyRequests(
            f"{VERIFICATIONS_MAX} verifications are under way", retry_after_seconds=_RETRY_AFTER_SECONDS
        )
    async with _slots:
        answer = await verify(
            database, store, org_scope, job, object_bytes_max=VERIFIED_BYTES_MAX, patience=VERIFIED_PATIENCE
        )
    return Response(answer, headers=NOT_STORED)


def _with_file(job: Job) -> Job:
    if job.status is not JobStatus.SUCCEEDED:
        raise Conflict(f"the export is {job.status}: only one that has succeeded has a file")
    return job


PROOF_ROUTES: list[Any] = [get_export_manifest, verify_export]
