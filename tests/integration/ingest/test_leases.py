"""One owner a partition, by the database's clock; a former owner is shut out by its epoch."""

import asyncio
from datetime import timedelta
from time import monotonic

import psycopg
import pytest

from analytics_core.database import WriteDatabase
from analytics_core.errors import FencedError
from analytics_ingest.leases import Lease, LeaseExpired, Leases, Taken, owner_name
from tests.integration.ingest.streaming import STREAM, Tables

LONG = timedelta(seconds=30)
SHORT = timedelta(milliseconds=300)


async def owned(leases: Leases, partition: int = 0) -> Lease:
    lease = await leases.acquire(partition)
    assert isinstance(lease, Lease)
    return lease


@pytest.fixture
async def rows(ingest_database: WriteDatabase) -> None:
    """The partitions' rows, made by whoever comes first."""
    assert isinstance(await Leases(ingest_database, STREAM, 2, "first", LONG).acquire(0), Taken)


async def test_the_first_to_come_makes_the_rows_of_all_partitions(
    tables: Tables, ingest_database: WriteDatabase
) -> None:
    """A partition that nobody reads yet must be known, or freshness would claim what nobody has read."""
    await Leases(ingest_database, STREAM, 3, "a", LONG).acquire(1)

    assert tables.value("SELECT array_agg(partition ORDER BY partition) FROM analytics.stream_offsets") == [0, 1, 2]
    assert tables.value("SELECT analytics.watermark()") is None


@pytest.mark.usefixtures("rows")
async def test_a_lease_is_one_owners_until_it_ends(ingest_database: WriteDatabase) -> None:
    """The others learn how long to wait."""
    one, other = (Leases(ingest_database, STREAM, 2, name, timedelta(seconds=1)) for name in ("one", "other"))
    lease = await owned(one)
    taken = await other.acquire(0)
    assert isinstance(taken, Taken)
    assert taken.owner == "one"
    assert 0 < taken.free_in_seconds <= 1

    await asyncio.sleep(taken.free_in_seconds + 0.05)

    assert (await owned(other)).epoch == lease.epoch + 1
    with pytest.raises(FencedError):
        await one.renew(lease)


@pytest.mark.usefixtures("rows")
async def test_partitions_have_owners_of_their_own(ingest_database: WriteDatabase) -> None:
    """Replicas share a stream partition by partition."""
    one, other = (Leases(ingest_database, STREAM, 2, name, LONG) for name in ("one", "other"))

    assert (await owned(one, 0)).partition == 0
    assert (await owned(other, 1)).partition == 1


@pytest.mark.usefixtures("rows")
async def test_a_released_lease_is_free_at_once(ingest_database: WriteDatabase) -> None:
    """A rolling update must not cost a lease's length of freshness."""
    one, other = (Leases(ingest_database, STREAM, 2, name, LONG) for name in ("one", "other"))
    await one.release(await owned(one))

    assert (await owned(other)).epoch == 2


@pytest.mark.usefixtures("rows")
async def test_an_owner_takes_its_own_lease_anew(ingest_database: WriteDatabase) -> None:
    """After a broken connection it begins again at once, and the old connection's writes are void."""
    leases = Leases(ingest_database, STREAM, 2, "one", LONG)
    before = await owned(leases)

    assert (await owned(leases)).epoch == before.epoch + 1
    with pytest.raises(FencedError):
        await leases.renew(before)


@pytest.mark.usefixtures("rows")
async def test_keeping_renews_before_the_end(ingest_database: WriteDatabase) -> None:
    """Three lease lengths later it is still ours."""
    one, other = (Leases(ingest_database, STREAM, 2, name, timedelta(seconds=1)) for name in ("one", "other"))
    lease = await owned(one)
    keeping = asyncio.create_task(one.keep(lease))
    until = monotonic() + 3
    while monotonic() < until:
        assert isinstance(await other.acquire(0), Taken)
        await asyncio.sleep(0.1)
    keeping.cancel()

    lease.require()


@pytest.mark.usefixtures("rows")
async def test_keeping_ends_when_somebody_else_took_over(tables: Tables, ingest_database: WriteDatabase) -> None:
    """The keeper is how an idle owner learns that it was frozen for too long."""
    leases = Leases(ingest_database, STREAM, 2, "one", SHORT)
    lease = await owned(leases)
    tables.value("UPDATE analytics.stream_offsets SET epoch = epoch + 1 WHERE partition = 0 RETURNING 1")

    with pytest.raises(FencedError):
        await asyncio.wait_for(leases.keep(lease), 5)


@pytest.mark.usefixtures("rows")
async def test_keeping_ends_before_the_lease_does_when_the_database_is_silent(
    tables: Tables, ingest_database: WriteDatabase
) -> None:
    """By then another owner may exist: writing on would race with it."""
    leases = Leases(ingest_database, STREAM, 2, "one", timedelta(seconds=1))
    lease = await owned(leases)
    began = monotonic()
    async with (
        WriteDatabase.open(tables.database.owner_dsn, application_name="blocker", pool_size=1) as blocker,
        blocker.write() as session,
    ):
        await session.execute("LOCK TABLE analytics.stream_offsets IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LeaseExpired):
            await asyncio.wait_for(leases.keep(lease), 10)

    assert lease.ends_at < began + 1
    with pytest.raises(LeaseExpired):
        lease.require()


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("is_silent", [True, False])
async def test_an_owner_that_is_slow_keeps_its_row_and_a_silent_one_loses_it(
    tables: Tables, ingest_database: WriteDatabase, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    """Nobody gains when a batch that the server works on begins anew; behind a silent owner there may be nobody."""
    monkeypatch.setattr("analytics_ingest.leases.SILENT_AFTER", SHORT)
    one, other = (Leases(ingest_database, STREAM, 2, name, SHORT) for name in ("one", "other"))
    await owned(one)
    async with await psycopg.AsyncConnection.connect(tables.database.dsn("analytics_ingest")) as holder:
        await holder.execute("UPDATE analytics.stream_offsets SET next_offset = 7 WHERE partition = 0")
        work = asyncio.create_task(holder.execute("SELECT" if is_silent else "SELECT pg_sleep(2)"))
        first = found = await other.acquire(0)
        while not isinstance(found, Lease):
            if work.done() and not is_silent:
                await holder.commit()
            await asyncio.sleep(0.05)
            found = await other.acquire(0)

        assert isinstance(first, Taken)
        assert found.next_offset == (0 if is_silent else 7)
        if is_silent:
            with pytest.raises(psycopg.errors.AdminShutdown):
                await holder.execute("SELECT")


@pytest.mark.usefixtures("rows")
async def test_a_proof_moves_the_accepted_through_time_forward_only(
    tables: Tables, ingest_database: WriteDatabase
) -> None:
    """Freshness never goes back, whatever order proofs and commits come in."""
    leases = Leases(ingest_database, STREAM, 2, "one", LONG)
    lease = await owned(leases)
    known = []
    now = await leases.database_time()
    for through in (None, now, now - timedelta(hours=1)):
        await leases.renew(lease, through)
        known.append(lease.accepted_through)

    assert known == [None, now, now]
    assert tables.value("SELECT max(accepted_through) FROM analytics.stream_offsets") == now


def test_no_two_processes_have_the_same_name() -> None:
    """The name is what makes a lease ours: after a restart the process is another owner."""
    assert owner_name("ingest") != owner_name("ingest")
