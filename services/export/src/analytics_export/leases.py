"""Jobs as workers see them: taken on a lease, renewed, ended by its holder alone.

A lease's owner is a name made for one attempt, so it is a fencing token too: an attempt that lost its lease changes no
row, whoever holds the job now. All times are the database's.
"""

import json
from dataclasses import dataclass
from datetime import timedelta

from analytics_core.access import OrgScope, scope_for_accepted_job
from analytics_core.database import REFUSED, UNREACHABLE, ReadSession, WriteSession
from analytics_core.errors import FencedError
from analytics_core.sql import load_queries
from analytics_export.jobs import ErrorCode, Job, job_from_row
from analytics_export.limits import ATTEMPTS_MAX
from analytics_export.outcomes import Outcome, Progress, Revision
from analytics_export.totals import totals_json

DATABASE_TROUBLE = (*UNREACHABLE, *REFUSED)
"""What the functions below raise when the database is away or in a state that it recovers from: try again later."""

_QUERIES = load_queries("analytics_export", "leases")
_TAKEN = "the job's lease is no longer this attempt's"


@dataclass(frozen=True, slots=True)
class Lease:
    """One attempt at a job, held under a name that no other attempt has."""

    job: Job
    owner: str

    @property
    def scope(self) -> OrgScope:
        """The permission given when the job was accepted."""
        return scope_for_accepted_job(self.job.org_id)

    @property
    def is_last_attempt(self) -> bool:
        return self.job.attempt >= ATTEMPTS_MAX


@dataclass(frozen=True, slots=True)
class QueueState:
    """How much waits, runs, and how long the oldest job has been waiting."""

    pending: int
    running: int
    oldest_pending_seconds: float


# tidy: org-scope — workers serve every organisation's jobs in turn
async def claim(session: WriteSession, owner: str, duration: timedelta, org_jobs_max: int) -> Lease | None:
    """Take the job that has waited longest, or one whose worker is gone; None when there is none.

    Jobs of an organisation that has `org_jobs_max` running, wherever that is, wait.
    """
    await session.execute(_QUERIES["lock_claims"])
    row = await session.fetch_row(_QUERIES["claim_job"], owner, duration, ATTEMPTS_MAX, org_jobs_max)
    return None if row is None else Lease(job_from_row(row), owner)


# tidy: org-scope — as in claim
async def fail_lost(session: WriteSession) -> list[Job]:
    """Fail the jobs whose worker died in their last attempt, and return them."""
    rows = await session.fetch(
        _QUERIES["fail_lost_jobs"],
        ATTEMPTS_MAX,
        ErrorCode.WORKER_LOST,
        f"its worker died in each of {ATTEMPTS_MAX} attempts",
    )
    return [job_from_row(row) for row in rows]


async def renew(session: WriteSession, scope: OrgScope, lease: Lease, duration: timedelta, progress: Progress) -> None:
    """Keep the lease from now on, and say how far the file is. Raises `FencedError` when it is another's."""
    arguments = (scope.org_id, lease.job.job_id, lease.owner, duration, progress.rows, progress.size_bytes)
    _require_one(await session.execute(_QUERIES["renew_lease"], *arguments))


async def succeed(session: WriteSession, scope: OrgScope, lease: Lease, outcome: Outcome, retention: timedelta) -> None:
    """running → succeeded, for as long as the file is kept. Raises `FencedError` when the lease is another's."""
    changed = await session.execute(
        _QUERIES["succeed_job"],
        scope.org_id,
        lease.job.job_id,
        lease.owner,
        outcome.object_key,
        outcome.row_count,
        outcome.size_bytes,
        outcome.checksum_sha256,
        json.dumps(totals_json(outcome.totals)),
        outcome.watermark,
        outcome.confidence,
        retention,
    )
    _require_one(changed)


async def reserve_revision(
    session: WriteSession, scope: OrgScope, lease: Lease, parameters_sha256: str, checksum_sha256: str
) -> Revision:
    """The revision of a file that is about to become visible, kept in its job.

    Of two jobs with the same parameters, the second waits for the end of the first one's transaction. Raises
    `FencedError` when the lease is another's.
    """
    await session.execute(_QUERIES["lock_revisions"], scope.org_id, parameters_sha256)
    arguments = (scope.org_id, lease.job.job_id, lease.owner, parameters_sha256, checksum_sha256)
    row = await session.fetch_row(_QUERIES["reserve_revision"], *arguments)
    if row is None:
        raise FencedError(_TAKEN)
    return Revision(row["revision"], row["superseded_job_id"], row["superseded_sha256"])


async def retry_later(
    session: WriteSession, scope: OrgScope, lease: Lease, code: ErrorCode, detail: str, delay: timedelta
) -> None:
    """running → pending, not before the delay is over. Raises `FencedError` when the lease is another's."""
    changed = await session.execute(
        _QUERIES["retry_job"], scope.org_id, lease.job.job_id, lease.owner, code, detail, delay
    )
    _require_one(changed)


async def fail(session: WriteSession, scope: OrgScope, lease: Lease, code: ErrorCode, detail: str) -> None:
    """running → failed, for good. Raises `FencedError` when the lease is another's."""
    _require_one(await session.execute(_QUERIES["fail_job"], scope.org_id, lease.job.job_id, lease.owner, code, detail))


async def release(session: WriteSession, scope: OrgScope, lease: Lease) -> None:
    """running → pending, as if never taken. Raises `FencedError` when the lease is another's."""
    _require_one(await session.execute(_QUERIES["release_job"], scope.org_id, lease.job.job_id, lease.owner))


async def let_go(session: WriteSession, scope: OrgScope, lease: Lease) -> bool:
    """Whether the job was canceled under this lease, which ends herewith."""
    return await session.execute(_QUERIES["let_go"], scope.org_id, lease.job.job_id, lease.owner) == 1


# tidy: org-scope — counts of the whole queue for operators, no organisation's data
async def queue_state(session: ReadSession) -> QueueState:
    """The state of the queue of all organisations."""
    row = await session.fetch_row(_QUERIES["queue_state"])
    return QueueState(row["pending"], row["running"], row["oldest_pending_seconds"]) if row else QueueState(0, 0, 0.0)


def _require_one(changed: int) -> None:
    if changed != 1:
        raise FencedError(_TAKEN)
