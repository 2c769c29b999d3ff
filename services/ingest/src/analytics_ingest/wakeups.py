"""Tells rollup that a batch waits. Fire and forget: the batch is found by polling, too."""

import asyncio
from contextlib import suppress

import msgspec
import structlog
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange

from analytics_core.lifecycle import Backoff
from analytics_core.messages import CONNECT_TIMEOUT_SECONDS, EXCHANGE, USAGE_BATCH_COMMITTED, UsageBatchCommitted
from analytics_core.telemetry.logs import redact_text
from analytics_ingest.limits import WAKEUP_PUBLISH_MAX, WAKEUPS_WAITING_MAX
from analytics_ingest.metrics import WAKEUPS_DROPPED

# What a stopping service grants the last wake-ups.
LAST_WORDS_SECONDS = 1
# A check that comes while the connection is being made waits for it.
CONNECTED_SECONDS = 1

log = structlog.get_logger()


class Wakeups:
    """Publishes in the background. `send` never waits and never fails; `run` does the work."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._exchange = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)
        self._waiting: asyncio.Queue[UsageBatchCommitted] = asyncio.Queue(WAKEUPS_WAITING_MAX)
        self._connected: asyncio.Future[RabbitBroker] = asyncio.get_running_loop().create_future()

    def send(self, message: UsageBatchCommitted) -> None:
        """Publish soon. While the broker is away the oldest messages give way: one is enough to wake somebody."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self._waiting.task_done()
            WAKEUPS_DROPPED.inc()
        self._waiting.put_nowait(message)

    async def check(self) -> None:
        """Return when the broker is connected; raises when it is not."""
        async with asyncio.timeout(CONNECTED_SECONDS):
            broker = await asyncio.shield(self._connected)
        if not await broker.ping(timeout=CONNECTED_SECONDS):
            raise ConnectionError("not connected")

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until stopped, reconnecting for ever."""
        publishing = asyncio.create_task(self._publish_for_ever())
        try:
            await stop.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await self._waiting.join()
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def _publish_for_ever(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._publish_while_connected(backoff)
            except Exception as error:  # noqa: BLE001 — nothing that happens here may reach ingestion
                log.warning("wakeups_not_published", error=redact_text(f"{type(error).__name__}: {error}"))
                await asyncio.sleep(backoff.next_seconds())

    async def _publish_while_connected(self, backoff: Backoff) -> None:
        broker = RabbitBroker(self._url, timeout=CONNECT_TIMEOUT_SECONDS, logger=None)
        try:
            await broker.connect()
            # Publishing alone does not make the exchange, and whoever starts first has to.
            await broker.declare_exchange(self._exchange)
            self._connected.set_result(broker)
            while True:
                message = await self._waiting.get()
                try:
                    await self._publish(broker, message)
                finally:
                    self._waiting.task_done()
                backoff.reset()
        finally:
            if self._connected.done():
                self._connected = asyncio.get_running_loop().create_future()
            with suppress(Exception):
                async with asyncio.timeout(WAKEUP_PUBLISH_MAX.total_seconds()):
                    await broker.stop()

    async def _publish(self, broker: RabbitBroker, message: UsageBatchCommitted) -> None:
        try:
            async with asyncio.timeout(WAKEUP_PUBLISH_MAX.total_seconds()):
                await broker.publish(
                    msgspec.json.encode(message),
                    exchange=self._exchange,
                    routing_key=USAGE_BATCH_COMMITTED,
                    content_type="application/json",
                    # Nobody listening is no error: rollup may not have started yet.
                    mandatory=False,
                )
        except Exception:
            WAKEUPS_DROPPED.inc()
            raise
