"""A broker that goes away, loudly or silently: ingest notices, waits, and goes on where it was."""

import asyncio
import time

import pytest

from analytics_ingest.stream_reader import SUBSCRIPTION_ID
from tests.crash.ledger import Ledger
from tests.crash.stage import CrashStage
from tests.integration.ingest.streaming import metric, wait_for
from tests.support.fault_proxy import FaultProxy
from tests.support.lost_deliveries import LostDeliveries

RESTARTS = "analytics_ingestion_reader_restarts_total"
# Where the flipped bits lie decides how it shows.
BROKEN = ("no_answer", "connection_closed", "corrupt_chunk", "stalled")

pytestmark = pytest.mark.timeout(300)


async def received(stage: CrashStage, count: int) -> None:
    await asyncio.to_thread(stage.wait_until_received, count)


def through(stage: CrashStage, proxy: FaultProxy) -> str:
    """The stream's URL, by way of the proxy."""
    return stage.rabbitmq.stream_url.replace(f":{stage.rabbitmq.stream_port}/", f":{proxy.port}/")


async def test_a_connection_that_hangs_is_replaced(stage: CrashStage, ledger: Ledger) -> None:
    """No packet and no reset, as behind a firewall that forgot the connection: heartbeats alone would take a minute."""
    async with FaultProxy.open(stage.rabbitmq.host, stage.rabbitmq.stream_port) as proxy:
        await stage.publish(ledger, 2000)
        service = await asyncio.to_thread(stage.start, RABBITMQ_STREAM_URL=through(stage, proxy))
        await received(stage, 2000)

        proxy.freeze()
        await stage.publish(ledger, 2000)
        hung_at = time.monotonic()
        await received(stage, 4000)

        assert time.monotonic() - hung_at < 30
        assert (metric(service, "analytics_ingestion_reader_restarts_total", reason="no_answer") or 0) >= 1
        ledger.check(stage)
        assert await asyncio.to_thread(service.stop) == 0


async def test_an_outage_of_the_broker_is_waited_out(stage: CrashStage, ledger: Ledger) -> None:
    """As when the broker restarts: refused for a while, and then everything is there again."""
    async with FaultProxy.open(stage.rabbitmq.host, stage.rabbitmq.stream_port) as proxy:
        await stage.publish(ledger, 2000)
        service = await asyncio.to_thread(stage.start, RABBITMQ_STREAM_URL=through(stage, proxy))
        await received(stage, 2000)

        proxy.refuse()
        await stage.publish(ledger, 2000)
        refused = "analytics_ingestion_reader_restarts_total"
        await asyncio.to_thread(
            wait_for, lambda: (metric(service, refused, reason="not_connected") or 0) >= 3, "three tries"
        )
        assert stage.totals()["received"] == 2000
        proxy.accept()
        back_at = time.monotonic()
        await received(stage, 4000)

        assert time.monotonic() - back_at < 30
        ledger.check(stage)
        assert await asyncio.to_thread(service.stop) == 0


async def test_a_frame_that_arrives_broken_is_read_again(stage: CrashStage, ledger: Ledger) -> None:
    """The checksum tells; rstream's listener dies of it without a word, so that only the silence can be noticed."""
    async with FaultProxy.open(stage.rabbitmq.host, stage.rabbitmq.stream_port) as proxy:
        service = await asyncio.to_thread(stage.start, RABBITMQ_STREAM_URL=through(stage, proxy))
        await stage.publish(ledger, 500)
        await received(stage, 500)
        trap = proxy.corrupt_next_answer(longer_than=20_000)
        await stage.publish(ledger, 2000)
        await received(stage, 2500)

        assert trap.sprung
        assert sum(metric(service, RESTARTS, reason=reason) or 0 for reason in BROKEN) >= 1
        ledger.check(stage)
        assert stage.totals()["received"] == 2500


async def test_a_subscription_that_died_silently_is_made_anew(stage: CrashStage, ledger: Ledger) -> None:
    """Every question is answered, only chunks do not come: the end of the stream, asked for beside, gives it away."""
    deliveries = LostDeliveries()
    async with FaultProxy.open(stage.rabbitmq.host, stage.rabbitmq.stream_port) as proxy:
        proxy.new_answer_filter = deliveries.new_filter
        service = stage.launch(
            "ingest", CRASH_LIMITS="STALLED_AFTER=2,LAG_EVERY=0.5", RABBITMQ_STREAM_URL=through(stage, proxy)
        )
        await stage.publish(ledger, 2000)
        await stage.caught_up(ledger)
        assert metric(service, RESTARTS, reason="stalled") is None

        deliveries.lose(SUBSCRIPTION_ID)
        await stage.publish(ledger, 200)
        await stage.caught_up(ledger)

        assert deliveries.lost >= 1
        assert metric(service, RESTARTS, reason="stalled") == 1
        ledger.check(stage)
