"""Whatever dies while events flow: afterwards the tables hold exactly what was published.

Every fault is gated on progress that the database shows, and strikes while events are on their way: a run in which
nothing was hit fails.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest

from tests.crash.ingest.ledger import Ledger, fingerprint
from tests.integration.ingest.streaming import IngestStage, metric, publish, wait_for
from tests.support.processes import ServiceProcess

SEED = 20261101
EVENTS = 60_000
PIECE = 2_000
IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = 'analytics_ingest' AND backend_xid IS NOT NULL
"""

pytestmark = pytest.mark.timeout(420)


@asynccontextmanager
async def publishing(stage: IngestStage, ledger: Ledger, pause_s: float = 0.0) -> AsyncIterator[None]:
    """Publishes the ledger's events in the background, piece by piece; leaving the block waits for the last one."""

    async def publish_all() -> None:
        for _ in range(EVENTS // PIECE):
            await publish(stage.rabbitmq, list(ledger.bodies(PIECE)))
            await asyncio.sleep(pause_s)

    task = asyncio.create_task(publish_all())
    try:
        yield
        await task
    finally:
        task.cancel()


async def at_offset(stage: IngestStage, offset: int) -> int:
    """Wait until so much is committed; the events that are still to come make it a fault in the middle."""
    await asyncio.to_thread(wait_for, lambda: reached(stage) >= offset, f"{offset} committed", 120)
    return reached(stage)


def reached(stage: IngestStage) -> int:
    return int(stage.value("SELECT coalesce(max(next_offset), 0) FROM analytics.stream_offsets"))


def strike_in_transaction(stage: IngestStage, strike: Callable[[], object], patience_s: float = 5) -> bool:
    """Strike at the moment at which ingest has written something and not committed it; False if it came too late."""
    deadline = time.monotonic() + patience_s
    with psycopg.connect(stage.database.superuser_dsn, autocommit=True) as connection:
        while time.monotonic() < deadline:
            if connection.execute(IN_TRANSACTION).fetchone() != (0,):
                strike()
                return True
    strike()
    return False


async def settle(stage: IngestStage, ledger: Ledger) -> None:
    await at_offset(stage, EVENTS)
    await asyncio.to_thread(ledger.check, stage)


async def test_killed_again_and_again_it_ends_with_every_event_once(stage: IngestStage) -> None:
    """SIGKILL in the middle of transactions; then the whole stream once more, which must not change a row."""
    ledger = Ledger(SEED)
    in_transaction = 0
    async with publishing(stage, ledger):
        for kill in range(1, 6):
            service = await asyncio.to_thread(stage.start, INGESTION_LEASE="2s")
            assert await at_offset(stage, kill * 8_000) < EVENTS
            in_transaction += await asyncio.to_thread(strike_in_transaction, stage, service.kill)
    service = await asyncio.to_thread(stage.start, INGESTION_LEASE="2s")
    await settle(stage, ledger)
    assert in_transaction >= 3, f"only {in_transaction} of 5 kills struck a transaction"

    assert await asyncio.to_thread(service.stop) == 0
    before = fingerprint(stage)
    stage.rows("UPDATE analytics.stream_offsets SET next_offset = 0, last_chunk_at = NULL")
    await asyncio.to_thread(stage.start)
    totals = await asyncio.to_thread(stage.wait_until_received, 2 * EVENTS, 120)

    assert fingerprint(stage) == before
    assert totals["stored"] == len(ledger.tokens)
    assert totals["conflicts"] == 2 * ledger.conflicts


async def test_a_frozen_owner_that_thaws_writes_nothing(stage: IngestStage) -> None:
    """SIGSTOP for longer than the lease: the other replica goes on, and the thawed one steps back."""
    ledger = Ledger(SEED + 1)
    async with publishing(stage, ledger, pause_s=0.3):
        frozen = await asyncio.to_thread(stage.start)
        begun = await at_offset(stage, 4_000)
        frozen.freeze()
        await asyncio.to_thread(end_transactions, stage)
        other = await asyncio.to_thread(stage.start)
        assert await at_offset(stage, begun + 4_000) < EVENTS
        frozen.thaw()
        await asyncio.to_thread(wait_for, lambda: has_stepped_back(frozen), "the thawed replica steps back")
    await settle(stage, ledger)

    assert stage.value("SELECT epoch FROM analytics.stream_offsets") >= 2
    await asyncio.to_thread(wait_for, lambda: owners(frozen, other) == 1, "one owner")


def owners(*services: ServiceProcess) -> float:
    return sum(metric(service, "analytics_ingestion_lease_owner", partition="0") or 0 for service in services)


def end_transactions(stage: IngestStage) -> None:
    """A frozen process may hold a transaction open; the server ends it after a minute, an operator at once."""
    with psycopg.connect(stage.database.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND usename = 'analytics_ingest' AND backend_xid IS NOT NULL"
        )


def has_stepped_back(service: ServiceProcess) -> bool:
    return any(f'"reason": "{reason}"' in service.log() for reason in ("fenced", "lease_expired", "database"))


async def test_database_connections_cut_in_transactions_lose_nothing(stage: IngestStage) -> None:
    """Also when the server was about to commit: the position tells what became of the batch."""
    ledger = Ledger(SEED + 2)
    cuts = 0
    async with publishing(stage, ledger):
        service = await asyncio.to_thread(stage.start)
        for cut in range(1, 6):
            assert await at_offset(stage, cut * 8_000) < EVENTS
            cuts += await asyncio.to_thread(strike_in_transaction, stage, lambda: terminate_backends(stage))
    await settle(stage, ledger)

    assert cuts >= 3, f"only {cuts} of 5 cuts struck a transaction"
    assert service.exit_code is None


def terminate_backends(stage: IngestStage) -> None:
    with psycopg.connect(stage.database.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = 'analytics_ingest'"
        )


async def test_broker_connections_cut_again_and_again_lose_nothing(stage: IngestStage) -> None:
    """The reader is built anew where the tables say."""
    ledger = Ledger(SEED + 3)
    chance = random.Random(SEED)
    closed = 0
    async with publishing(stage, ledger, pause_s=0.1):
        service = await asyncio.to_thread(stage.start)
        for cut in range(1, 6):
            assert await at_offset(stage, cut * 8_000) < EVENTS
            await asyncio.sleep(chance.random() * 0.2)
            closed += await asyncio.to_thread(close_reader_connections, stage)
    await settle(stage, ledger)

    assert closed >= 5
    assert (metric(service, "analytics_ingestion_reader_restarts_total", reason="connection_closed") or 0) >= 3


def close_reader_connections(stage: IngestStage) -> int:
    vhost = stage.rabbitmq.vhost

    def close_all() -> int:
        closed = 0
        for connection in stage.rabbitmq.management("GET", f"/vhosts/{vhost}/connections").json():
            if connection.get("client_properties", {}).get("connection_name") == "analytics-ingest":
                stage.rabbitmq.management("DELETE", f"/connections/{connection['name']}")
                closed += 1
        return closed

    return int(wait_for(close_all, "a connection of the reader", 30))
