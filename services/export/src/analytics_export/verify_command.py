"""`analytics-export verify JOB_ID`: the proof without the limits of a request."""

import argparse
import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import msgspec

from analytics_core.access import PlatformScope, scope_for_accepted_job, scope_for_own_work
from analytics_core.database import ReadDatabase, ReadSession
from analytics_core.lifecycle import EXIT_FAILED, EXIT_OK, Command
from analytics_core.sql import load_queries
from analytics_export.jobs import Job, JobStatus, job_from_row
from analytics_export.settings import Settings
from analytics_export.storage import ObjectStore
from analytics_export.verification import Result, Source, Verification, verify

_QUERIES = load_queries("analytics_export", "verify_command")
_PATIENCE = timedelta(hours=2)
_NO_LIMIT_BYTES = 1 << 62


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which export, and how to show the outcome."""
    parser.add_argument("job_id", type=UUID, metavar="JOB_ID", help="an export that has succeeded")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when the file and its sources are equal, 1 when they are not or the file cannot be read."""
    async with ReadDatabase.open(
        settings.database_url.get_secret_value(),
        application_name=f"{settings.service_name} verify",
        pool_size=1,
        statement_timeout=_PATIENCE,
    ) as database:
        scope = scope_for_own_work()
        async with database.read(scope) as session:
            job = await _any_job(session, scope, arguments.job_id)
        if job is None or job.status is not JobStatus.SUCCEEDED:
            sys.stderr.write(f"{arguments.job_id}: {'no such export' if job is None else f'is {job.status}'}\n")
            return EXIT_FAILED
        found = await verify(
            database,
            ObjectStore(settings),
            scope_for_accepted_job(job.org_id),
            job,
            object_bytes_max=_NO_LIMIT_BYTES,
            patience=_PATIENCE,
        )
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n" if arguments.json else "".join(_lines(job, found)))
    return EXIT_OK if found.equal and _is_read(found) else EXIT_FAILED


async def _any_job(session: ReadSession, scope: PlatformScope, job_id: UUID) -> Job | None:  # noqa: ARG001 — the permission
    """The job, whoever's it is: an operator has its id alone."""
    row = await session.fetch_row(_QUERIES["any_job"], job_id)
    return None if row is None else job_from_row(row)


def _lines(job: Job, found: Verification) -> Iterator[str]:
    yield f"export {job.job_id} of organisation {job.org_id}, revision {job.revision}, {job.confidence}\n"
    for check in found.checks:
        mark = {Result.EQUAL: "=", Result.DIFFERENT: "≠", Result.SKIPPED: "-"}[check.result]
        yield f"  {mark} {check.source:<8} {check.detail}\n"
    for difference in found.differences:
        excess = ", ".join(f"{name} {value:+,}" for name, value in difference.excess.items())
        start, model = difference.bucket_start, difference.model_id
        yield f"    {f'{start:%Y-%m-%dT%H:%MZ}' if start else model}  {difference.source} minus rollups: {excess}\n"
    if not found.equal:
        yield "NOT EQUAL\n"
    else:
        yield "equal\n" if _is_read(found) else "COULD NOT BE VERIFIED: the file or its manifest was not read\n"


def _is_read(found: Verification) -> bool:
    """Whether the storage has told of the file and its manifest: without both, nothing else proves them."""
    skipped = {check.source for check in found.checks if check.result is Result.SKIPPED}
    return skipped.isdisjoint({Source.OBJECT, Source.MANIFEST})


VERIFY = Command("verify", "compare an export with its sources, without limits", add_arguments, run)
