"""The queue on the real database, as the service's own role: who gets a job, for how long, and who may end it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest

from analytics_core.access import scope_for_accepted_job, scope_for_own_work
from analytics_core.database import WriteDatabase
from analytics_core.errors import FencedError
from analytics_export import jobs, leases
from analytics_export.filters import Filters
from analytics_export.formats.catalogue import Format
from analytics_export.jobs import ErrorCode, Job, JobRequest, NewJob, Quota
from analytics_export.leases import Lease
from analytics_export.limits import ATTEMPTS_MAX
from analytics_export.outcomes import Confidence, Outcome, Progress, Revision
from analytics_export.ranges import Granularity
from analytics_export.templates import TemplateName
from analytics_export.totals import Totals
from tests.support.stack import Database

NO_LIMIT = Quota(open_jobs=1_000, kept_bytes=1_000_000)
LONG, OVER = timedelta(minutes=5), timedelta(seconds=-1)
REQUEST = JobRequest(
    template=TemplateName.FULL,
    granularity=Granularity.DAILY,
    format=Format.CSV,
    start=datetime(2026, 3, 1, tzinfo=UTC),
    end=datetime(2026, 3, 2, tzinfo=UTC),
    timezone="UTC",
    group_by=("model",),
    filters=Filters(),
    requested_by="tester",
)
OUTCOME = Outcome(
    object_key="analytics/exports/key.csv",
    row_count=3,
    size_bytes=100,
    checksum_sha256="ab" * 32,
    totals=Totals(3, 30, 20, 10, 5, 123_456_789),
    watermark=datetime(2026, 3, 2, 1, tzinfo=UTC),
    confidence=Confidence.FINALIZED,
    revision=Revision(1, None, None),
)


@pytest.fixture(scope="module")
def own_database(make_database: Callable[..., Database]) -> Database:
    """No other test's jobs are in this queue."""
    return make_database()


@pytest.fixture
async def queue(own_database: Database) -> AsyncIterator[WriteDatabase]:
    """An empty queue."""
    with psycopg.connect(own_database.owner_dsn) as connection:
        connection.execute("TRUNCATE analytics.export_jobs")
    dsn = own_database.dsn("analytics_export")
    async with WriteDatabase.open(dsn, application_name="test", pool_size=20) as database:
        yield database


async def added(queue: WriteDatabase, org_id: UUID | None = None) -> Job:
    async with queue.write(scope_for_own_work()) as session:
        job_id = uuid4()
        new = NewJob(job_id=job_id, request=REQUEST, object_key=f"analytics/exports/org/{job_id}.csv")
        job = await jobs.create(session, scope_for_accepted_job(org_id or uuid4()), new, NO_LIMIT)
    assert job is not None
    return job


async def claimed(queue: WriteDatabase, duration: timedelta = LONG, org_jobs_max: int = 100) -> Lease | None:
    async with queue.write(scope_for_own_work()) as session:
        return await leases.claim(session, str(uuid4()), duration, org_jobs_max)


async def taken(queue: WriteDatabase, duration: timedelta = LONG) -> Lease:
    lease = await claimed(queue, duration)
    assert lease is not None
    return lease


async def shown(queue: WriteDatabase, job: Job) -> Job:
    async with queue.read(scope_for_own_work()) as session:
        found = await jobs.find(session, scope_for_accepted_job(job.org_id), job.job_id)
    assert found is not None
    return found


async def test_no_two_workers_get_one_job(queue: WriteDatabase) -> None:
    """Twenty workers at once over fifteen jobs: each job once, the rest go home empty-handed."""
    created = {(await added(queue)).job_id for _ in range(15)}

    found = await asyncio.gather(*(claimed(queue) for _ in range(20)))

    got = [lease.job.job_id for lease in found if lease]
    assert (len(got), set(got)) == (15, created)


async def test_the_job_that_waits_longest_comes_first(queue: WriteDatabase) -> None:
    """Nobody is overtaken for ever."""
    created = [(await added(queue)).job_id for _ in range(3)]

    assert [(await taken(queue)).job.job_id for _ in range(3)] == created


async def test_a_job_is_running_while_it_is_held(queue: WriteDatabase) -> None:
    """What the API shows meanwhile."""
    await added(queue)

    job = (await taken(queue)).job

    assert (job.status, job.attempt) == ("running", 1)
    assert job.started_at is not None
    assert await claimed(queue) is None


async def test_a_job_is_taken_over_when_its_lease_is_over(queue: WriteDatabase) -> None:
    """A dead worker's job goes on; the start stays the first one."""
    await added(queue)
    dead = await taken(queue, OVER)

    heir = await taken(queue)

    assert (heir.job.job_id, heir.job.attempt) == (dead.job.job_id, 2)
    assert heir.job.started_at == dead.job.started_at


async def test_an_organisation_at_its_limit_leaves_others_their_turn(queue: WriteDatabase) -> None:
    """Claims at the same moment do not pass the limit, and the jobs that wait behind it block nobody."""
    busy = uuid4()
    for _ in range(6):
        await added(queue, busy)
    other = await added(queue)

    found = await asyncio.gather(*(claimed(queue, org_jobs_max=2) for _ in range(8)))

    orgs = [lease.job.org_id for lease in found if lease]
    assert (orgs.count(busy), orgs.count(other.org_id), len(orgs)) == (2, 1, 3)


async def test_a_renewed_lease_is_not_taken_over(queue: WriteDatabase) -> None:
    """A long export is not a dead one."""
    await added(queue)
    lease = await taken(queue, OVER)
    async with queue.write(scope_for_own_work()) as session:
        await leases.renew(session, lease.scope, lease, LONG, Progress())

    assert await claimed(queue) is None


@pytest.mark.parametrize("step", ["renew", "succeed", "retry_later", "fail", "release"])
async def test_a_worker_that_lost_its_lease_changes_nothing(queue: WriteDatabase, step: str) -> None:
    """A frozen worker that comes back must not touch what its successor does, nor what it has done."""
    await added(queue)
    stale = await taken(queue, OVER)
    heir = await taken(queue)
    ends = {
        "renew": lambda session: leases.renew(session, stale.scope, stale, LONG, Progress()),
        "succeed": lambda session: leases.succeed(session, stale.scope, stale, OUTCOME, LONG),
        "retry_later": lambda session: leases.retry_later(
            session, stale.scope, stale, ErrorCode.INTERNAL, "", timedelta(0)
        ),
        "fail": lambda session: leases.fail(session, stale.scope, stale, ErrorCode.INTERNAL, ""),
        "release": lambda session: leases.release(session, stale.scope, stale),
    }

    async with queue.write(scope_for_own_work()) as session:
        with pytest.raises(FencedError):
            await ends[step](session)

    assert await shown(queue, heir.job) == heir.job
    async with queue.write(scope_for_own_work()) as session:
        await leases.succeed(session, heir.scope, heir, OUTCOME, LONG)
        with pytest.raises(FencedError):
            await ends[step](session)
    assert (await shown(queue, heir.job)).status == "succeeded"


async def test_another_organisations_scope_changes_nothing(queue: WriteDatabase) -> None:
    """The scope is part of every step, not an argument that somebody forgot to use."""
    await added(queue)
    lease = await taken(queue)

    async with queue.write(scope_for_own_work()) as session:
        with pytest.raises(FencedError):
            await leases.succeed(session, scope_for_accepted_job(uuid4()), lease, OUTCOME, LONG)


async def test_a_success_has_all_that_the_api_shows(queue: WriteDatabase) -> None:
    """The error of an earlier attempt is gone."""
    await added(queue)
    first = await taken(queue)
    async with queue.write(scope_for_own_work()) as session:
        await leases.retry_later(session, first.scope, first, ErrorCode.STORAGE_DENIED, "no", timedelta(0))
    second = await taken(queue)
    async with queue.write(scope_for_own_work()) as session:
        await leases.succeed(session, second.scope, second, OUTCOME, LONG)

    job = await shown(queue, second.job)

    assert (job.status, job.row_count, job.size_bytes, job.checksum_sha256) == ("succeeded", 3, 100, "ab" * 32)
    assert (job.error_code, job.attempt) == (None, 2)
    assert job.completed_at is not None


async def test_a_failed_attempt_waits_and_says_why(queue: WriteDatabase) -> None:
    """The user sees the reason while the worker tries again."""
    await added(queue)
    lease = await taken(queue)
    async with queue.write(scope_for_own_work()) as session:
        await leases.retry_later(session, lease.scope, lease, ErrorCode.STORAGE_DENIED, "no", LONG)

    job = await shown(queue, lease.job)

    assert (job.status, job.error_code, job.error_detail) == ("pending", "storage_denied", "no")
    assert await claimed(queue) is None


async def test_a_job_that_is_handed_back_has_not_used_an_attempt(queue: WriteDatabase) -> None:
    """Five deployments in an afternoon must not fail a long export."""
    await added(queue)
    for _ in range(ATTEMPTS_MAX + 1):
        lease = await taken(queue)
        async with queue.write(scope_for_own_work()) as session:
            await leases.release(session, lease.scope, lease)

    assert (await taken(queue)).job.attempt == 1


async def test_a_job_that_kills_its_workers_fails_after_the_last_attempt(queue: WriteDatabase) -> None:
    """It would go round for ever otherwise."""
    job = await added(queue)
    for _ in range(ATTEMPTS_MAX):
        await taken(queue, OVER)

    assert await claimed(queue) is None
    async with queue.write(scope_for_own_work()) as session:
        lost = await leases.fail_lost(session)
        again = await leases.fail_lost(session)

    assert ([each.job_id for each in lost], again) == ([job.job_id], [])
    assert (lost[0].status, lost[0].error_code) == ("failed", "worker_lost")


async def test_the_state_of_the_queue_counts_what_is_open(queue: WriteDatabase) -> None:
    """What an operator scales by."""
    for _ in range(3):
        await added(queue)
    lease = await taken(queue)
    async with queue.read(scope_for_own_work()) as session:
        state = await leases.queue_state(session)
    async with queue.write(scope_for_own_work()) as session:
        await leases.fail(session, lease.scope, lease, ErrorCode.INTERNAL, "")
        after = await leases.queue_state(session)

    assert (state.pending, state.running, after.running) == (2, 1, 0)
    assert 0 < state.oldest_pending_seconds < 60


async def test_an_empty_queue_has_no_age(queue: WriteDatabase) -> None:
    """A gauge that is absent or negative would confuse an alert."""
    async with queue.read(scope_for_own_work()) as session:
        assert (await leases.queue_state(session)).oldest_pending_seconds == 0


async def test_the_role_cannot_touch_what_others_write(queue: WriteDatabase) -> None:
    """One writer per table: export writes jobs and its audit records."""
    for statement in ("DELETE FROM analytics.export_jobs", "UPDATE analytics.usage_daily SET invocations = 0"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with queue.write(scope_for_own_work()) as session:
                await session.execute(statement)
