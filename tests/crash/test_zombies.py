"""Former owners that come back, and databases that forget: each guard of exactly-once on trial alone."""

import psycopg
import pytest

from tests.crash.ledger import Ledger
from tests.crash.stage import CrashStage
from tests.integration.ingest.streaming import metric
from tests.support.fault_proxy import FaultProxy
from tests.support.processes import ServiceProcess

pytestmark = pytest.mark.timeout(600)
EVENTS = 2_000


async def thaw(stage: CrashStage, process: ServiceProcess) -> None:
    """Let it go on, and wait until it has failed with what it was doing."""
    process.thaw()
    restarts = "analytics_ingestion_reader_restarts_total"
    reasons = ("fenced", "lease_expired", "database")
    await stage.until(
        lambda: any(metric(process, restarts, reason=reason) for reason in reasons),
        "the thawed process has stepped back",
    )


@pytest.mark.parametrize(
    ("point", "guard", "others"),
    [
        ("before_cas", "the compare-and-set", "no-lease-guard"),
        ("before_lease_check", "the lease's end", "no-cas"),
        ("before_cas", "all", ""),
    ],
    ids=["by the compare-and-set", "by its lease", "by all guards"],
)
async def test_a_frozen_owner_that_thaws_is_kept_from_writing(
    stage: CrashStage, ledger: Ledger, point: str, guard: str, others: str
) -> None:
    """It has a batch in hand that its successor has committed meanwhile."""
    await stage.publish(ledger, EVENTS)
    zombie = stage.launch("ingest", point, action="freeze", without=others)
    await stage.frozen(zombie, point)
    # A lease that a busy machine does not let end: nobody but the zombie could disturb it.
    successor = stage.launch("ingest", INGESTION_LEASE="30s")
    await stage.caught_up(ledger)
    epoch = stage.value("SELECT epoch FROM analytics.stream_offsets")

    await thaw(stage, zombie)
    await stage.publish(ledger, EVENTS)
    await stage.caught_up(ledger)

    ledger.check(stage)
    assert stage.value("SELECT epoch FROM analytics.stream_offsets") == epoch, f"{guard}: the successor was disturbed"
    assert metric(successor, "analytics_ingestion_lease_owner", partition="0") == 1
    assert (metric(zombie, "analytics_ingestion_fenced_total") or 0) >= (others == "no-lease-guard")


@pytest.mark.parametrize("point", ["after_cas", "mid_copy"])
async def test_an_owner_frozen_within_its_transaction_is_put_out_of_the_way(
    stage: CrashStage, ledger: Ledger, point: str
) -> None:
    """It holds the partition's row and its organisations' locks, for a minute by the database's own limits."""
    await stage.publish(ledger, EVENTS)
    zombie = stage.launch("ingest", point, action="freeze")
    await stage.frozen(zombie, point)
    successor = stage.launch("ingest")
    await stage.caught_up(ledger)

    assert "silent_owner_ended" in successor.log()
    await thaw(stage, zombie)
    await stage.publish(ledger, EVENTS)
    await stage.caught_up(ledger)
    ledger.check(stage)
    assert metric(successor, "analytics_ingestion_lease_owner", partition="0") == 1


async def test_an_old_epoch_alone_is_enough_to_be_refused(stage: CrashStage, ledger: Ledger) -> None:
    """The successor has committed nothing yet: the position is where the zombie expects it."""
    await stage.publish(ledger, EVENTS)
    zombie = stage.launch("ingest", "before_cas", action="freeze", without="no-lease-guard")
    await stage.frozen(zombie, "before_cas")
    successor = stage.launch("ingest", "before_cas", action="freeze", without="no-lease-guard")
    await stage.frozen(successor, "before_cas")

    await thaw(stage, zombie)

    assert stage.position() == 0
    zombie.kill()
    successor.thaw()
    await stage.caught_up(ledger)
    ledger.check(stage)


async def test_a_position_that_went_back_alone_is_enough_to_be_refused(stage: CrashStage, ledger: Ledger) -> None:
    """As after a failover to a replica that lacked the last commits: owner and epoch are the same, events are gone."""
    service = stage.launch("ingest")
    for _ in range(3):
        await stage.publish(ledger, EVENTS)
        await stage.caught_up(ledger)
    first_lost = forget_last_batches(stage)

    await stage.publish(ledger, EVENTS)
    await stage.until(lambda: stage.position() == ledger.confirmed, "the end of the stream")

    assert first_lost < 3 * EVENTS
    ledger.check(stage)
    assert service.exit_code is None


def forget_last_batches(stage: CrashStage) -> int:
    """Undo the latest third of what is committed, all of it together; where the position is then."""
    with psycopg.connect(stage.database.owner_dsn) as connection:
        row = connection.execute(
            "SELECT min(batch_id), min(first_offset) FROM analytics.ingestion_batches WHERE first_offset >= %s",
            [2 * EVENTS],
        ).fetchone()
        assert row is not None
        batch_id, offset = row
        for table in ("usage_events", "dead_letters", "ingestion_batches"):
            connection.execute(f"DELETE FROM analytics.{table} WHERE batch_id >= %s".encode(), [batch_id])
        connection.execute("UPDATE analytics.stream_offsets SET next_offset = %s, last_chunk_at = NULL", [offset])
    return int(offset)


@pytest.mark.parametrize("passes", [True, False], ids=["after the server got it", "before the server got it"])
async def test_a_connection_cut_at_commit_leaves_no_doubt(stage: CrashStage, ledger: Ledger, passes: bool) -> None:
    """The answer is lost either way; only the position tells what became of the batch."""
    url = stage.database.dsn("analytics_ingest")
    port = stage.database.stack.ports.postgres
    async with FaultProxy.open("127.0.0.1", port) as proxy:
        service = stage.launch("ingest", DATABASE_URL=url.replace(f":{port}/", f":{proxy.port}/"))
        await stage.publish(ledger, EVENTS)
        await stage.caught_up(ledger)
        for _ in range(3):
            # Renewals and announcements commit, too; the batch is what has copied events.
            trap = proxy.cut_at(b"COMMIT;", after=b'"usage_events"', passes=passes)
            await stage.publish(ledger, EVENTS)
            await stage.caught_up(ledger)
            assert trap.sprung

        ledger.check(stage)
        assert ("commit_confirmed_after_lost_connection" in service.log()) is passes
