"""`/analytics/v1/orgs/{orgId}/exports/{jobId}/events`: an export's progress as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter
from litestar.response import Stream

from analytics_core.access import Action, OrgScope
from analytics_core.database import WriteDatabase
from analytics_core.errors import TooManyRequests
from analytics_core.http.problems import problem_responses
from analytics_core.lifecycle import sleep_unless_stopped
from analytics_export import jobs
from analytics_export.jobs import Job
from analytics_export.leases import DATABASE_TROUBLE
from analytics_export.limits import FOLLOW_HEARTBEAT_SECONDS, FOLLOW_SECONDS_MAX, FOLLOWERS_MAX, PROGRESS_SECONDS
from analytics_export.responses import export_from_job
from analytics_export.routes.exports import BEARER, PATH, find_job

MEDIA_TYPE = "text/event-stream"


class Followers:
    """The open streams of one process. They end when it is to stop."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._open = 0

    async def follow(self, database: WriteDatabase, scope: OrgScope, job: Job) -> AsyncIterator[bytes]:
        """The job at once and whenever it has changed, until it has ended or the stream has lasted long enough."""
        self._open += 1
        try:
            async for piece in self._events(database, scope, job):
                yield piece
        finally:
            self._open -= 1

    def require_room(self) -> None:
        """Raises `TooManyRequests`."""
        if self._open >= FOLLOWERS_MAX:
            raise TooManyRequests("too many streams are open; ask for the export itself", retry_after_seconds=10)

    async def _events(self, database: WriteDatabase, scope: OrgScope, job: Job) -> AsyncIterator[bytes]:
        current: Job | None = job
        shown: Job | None = None
        opened = said = monotonic()
        while current is not None:
            if current != shown:
                yield b"event: export\ndata: " + msgspec.json.encode(export_from_job(current)) + b"\n\n"
                shown, said = current, monotonic()
            elif monotonic() - said > FOLLOW_HEARTBEAT_SECONDS:
                # Something has to pass now and then, or proxies take the connection for dead.
                yield b": still there\n\n"
                said = monotonic()
            if current.completed_at is not None or self._stop.is_set() or monotonic() - opened > FOLLOW_SECONDS_MAX:
                return
            await sleep_unless_stopped(self._stop, PROGRESS_SECONDS)
            try:
                async with database.read(scope) as session:
                    current = await jobs.find(session, scope, job.job_id)
            except DATABASE_TROUBLE:
                return  # the client comes back and gets a 503 that says so


@get(
    f"{PATH}/{{jobId:uuid}}/events",
    opt={"action": Action.EXPORTS_READ},
    operation_id="followExport",
    summary="Follow an export's progress",
    tags=["exports"],
    security=BEARER,
    responses={
        200: ResponseSpec(
            data_container=str, description="Events until the export has ended", media_type=MEDIA_TYPE,
            generate_examples=False,
        ),
        **problem_responses(401, 403, 404, 429, 503),
    },
)  # fmt: skip
async def follow_export(
    job_id: Annotated[UUID, PathParameter(name="jobId")],
    org_scope: NamedDependency[OrgScope],
    database: NamedDependency[WriteDatabase],
    followers: NamedDependency[Followers],
) -> Stream:
    """Server-sent events named `export`, each with the export as `GET` shows it: one at once, one whenever it changes.

    The stream ends after the event of a `status` that is final, and after 15 minutes: connect again then.
    """
    async with database.read(org_scope) as session:
        job = await find_job(session, org_scope, job_id)
    followers.require_room()
    return Stream(
        followers.follow(database, org_scope, job),
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
