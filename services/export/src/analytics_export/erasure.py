"""Erasure: removes the exported files of an organisation, or those that may name one of its actors.

Jobs end by the steps that they always end by, so a worker that is at one of them cannot bring its file back. Their rows
stay, without files and without the actor's name: they say who asked for what and when. Asked again, an erasure goes on
where it was interrupted.
"""

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

from analytics_core.access import OrgScope
from analytics_core.database import ReadDatabase, ReadSession, WriteDatabase, WriteSession
from analytics_core.sql import load_queries
from analytics_export.delivery import object_key
from analytics_export.housekeeping import cleaned
from analytics_export.jobs import Job, job_from_row
from analytics_export.limits import PROGRESS_SECONDS
from analytics_export.manifest import manifest_key
from analytics_export.storage import ObjectStore

_QUERIES = load_queries("analytics_export", "erasure")
_SERVICE = "analytics-export"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose files to remove (all of the organisation's without an actor), and who asked for it."""

    org_id: UUID
    actor_id: str | None
    requested_by: str


@dataclass(frozen=True, slots=True)
class Erased:
    """The jobs whose files are gone, and the objects beside them that no job knew of."""

    jobs: int
    unknown_objects: int


async def count_jobs(database: ReadDatabase, scope: OrgScope, wanted: Wanted) -> int:
    """How many jobs an erasure would end and clean now."""
    async with database.read(scope) as session:
        return len(await _jobs(session, scope, wanted))


async def erase(
    database: WriteDatabase, store: ObjectStore, scope: OrgScope, wanted: Wanted, prefixes: tuple[str, ...]
) -> Erased:
    """Remove everything that is there now. Raises `StorageError` when the storage does not let go of it."""
    async with database.write(scope) as session:
        await _end_schedules(session, scope, wanted)
        found = await _jobs(session, scope, wanted)
        ids = [job.job_id for job in found]
        await session.execute(_QUERIES["cancel_erased"], scope.org_id, ids)
        await session.execute(_QUERIES["expire_erased"], scope.org_id, ids)
        await _record(session, scope, wanted, f"begun: {len(found)} exports")
    while await _still_leased(database, scope, ids):  # noqa: ASYNC110 — by other processes, which the table alone knows
        await asyncio.sleep(PROGRESS_SECONDS)
    for job in found:
        await _clean(database, store, scope, job)
    unknown = 0
    if wanted.actor_id is None:
        unknown = sum([await store.remove_below(f"{prefix}/{scope.org_id}/") for prefix in prefixes])
    async with database.write(scope) as session:
        if wanted.actor_id is not None:
            await session.execute(_QUERIES["forget_actor"], scope.org_id, wanted.actor_id)
        await _record(session, scope, wanted, f"completed: {len(found)} exports, {unknown} objects without one")
    return Erased(len(found), unknown)


async def _jobs(session: ReadSession, scope: OrgScope, wanted: Wanted) -> list[Job]:
    return [job_from_row(row) for row in await session.fetch(_QUERIES["erased_jobs"], scope.org_id, wanted.actor_id)]


async def _end_schedules(session: WriteSession, scope: OrgScope, wanted: Wanted) -> None:
    """No file is made of what is erased any more."""
    if wanted.actor_id is None:
        await session.execute(_QUERIES["delete_erased_schedules"], scope.org_id, wanted.requested_by)
    else:
        arguments = (scope.org_id, wanted.actor_id, wanted.requested_by)
        await session.execute(_QUERIES["forget_actor_in_schedules"], *arguments)


async def _still_leased(database: ReadDatabase, scope: OrgScope, ids: list[UUID]) -> bool:
    async with database.read(scope) as session:
        return bool(await session.fetch_value(_QUERIES["still_leased"], scope.org_id, ids))


async def _clean(database: WriteDatabase, store: ObjectStore, scope: OrgScope, job: Job) -> None:
    key = object_key(job)
    for each in (manifest_key(key), key):
        await store.discard(each)
    async with database.write(scope) as session:
        await cleaned(session, scope, job)


async def _record(session: WriteSession, scope: OrgScope, wanted: Wanted, what: str) -> None:
    whose = "the organisation" if wanted.actor_id is None else "one actor"
    reason = f"erasure of the exported files of {whose} {what}"
    arguments = (_SERVICE, wanted.requested_by, scope.org_id, reason, str(uuid4()))
    await session.execute(_QUERIES["record_erasure"], *arguments)
