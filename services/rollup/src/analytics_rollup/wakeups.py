"""Messages that save waiting: hears of committed batches, tells of folds. Without RabbitMQ everybody polls."""

import asyncio
import logging
from contextlib import suppress
from uuid import uuid4

import msgspec
import structlog
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_core.messages import (
    CONNECT_TIMEOUT_SECONDS,
    EXCHANGE,
    ROLLUP_COMPLETED,
    USAGE_BATCH_COMMITTED,
    RollupCompleted,
)
from analytics_rollup.limits import PUBLISH_TIMEOUT_SECONDS, START_TIMEOUT_SECONDS, WAKE_UPS_MAX

log = structlog.get_logger()

_EXCHANGE = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)


class WakeUps:
    """The connection to RabbitMQ. `batches_wait` is set by each message that says so."""

    def __init__(self, rabbitmq_url: str) -> None:
        self.batches_wait = asyncio.Event()
        self._url = rabbitmq_url
        self._connected: RabbitBroker | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until stopped; connects as often as it takes."""
        backoff = Backoff()
        while not stop.is_set():
            # The dependency check logs an outage, once; a line for each try would bury it.
            with suppress(Exception):
                await self._listen(stop, backoff)
            await sleep_unless_stopped(stop, backoff.next_seconds())

    async def _listen(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """One connection, from its start to its end or the service's.

        A lost one is not left to the client's own recovery: that may come back without its consumers
        (github.com/ag2ai/faststream/issues/2758).
        """
        ended = asyncio.Event()
        broker = self._broker(ended)
        # A task of its own: the client, cancelled while it connects, leaves a connection behind that nobody can close.
        starting = asyncio.create_task(_start(broker))
        try:
            await asyncio.shield(starting)
            self._connected = broker
            backoff.reset()
            # Batches committed between the connections went unheard.
            self.batches_wait.set()
            await _first_of(stop, ended)
        finally:
            self._connected = None
            with suppress(Exception):
                await starting
            with suppress(Exception):
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    await broker.stop()

    def _broker(self, ended: asyncio.Event) -> RabbitBroker:
        broker = RabbitBroker(
            self._url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            apply_types=False,
            # A wake-up in flight is worth no wait at the end.
            graceful_timeout=1.0,
            default_channel=Channel(prefetch_count=WAKE_UPS_MAX),
            logger=logging.getLogger("faststream"),
            log_level=logging.DEBUG,
            on_close=[lambda *_: ended.set()],
        )
        # A queue of this process alone, gone when it goes: what was said while nobody listened is in the database.
        queue = RabbitQueue(
            f"rollup.{USAGE_BATCH_COMMITTED}.{uuid4().hex}",
            routing_key=USAGE_BATCH_COMMITTED,
            exclusive=True,
            arguments={"x-max-length": WAKE_UPS_MAX},
        )
        subscriber = broker.subscriber(queue, _EXCHANGE, ack_policy=AckPolicy.ACK_FIRST, decoder=_ignore_content)
        subscriber(self._on_message)
        return broker

    async def check(self) -> None:
        """Return when connected; raises `ConnectionError` when not."""
        if self._connected is None:
            raise ConnectionError("not connected")

    async def announce(self, message: RollupCompleted) -> None:
        """Tell of a fold, if RabbitMQ is there. Never raises: whoever misses it polls."""
        broker = self._connected
        if broker is None:
            return
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS):
                await broker.publish(
                    msgspec.json.encode(message),
                    exchange=_EXCHANGE,
                    routing_key=ROLLUP_COMPLETED,
                    content_type="application/json",
                    mandatory=False,
                )
        except Exception as error:  # noqa: BLE001 — a wake-up is never worth a failed fold
            log.debug("announcement_lost", routing_key=ROLLUP_COMPLETED, error=f"{type(error).__name__}: {error}")

    async def _on_message(self, _: None) -> None:
        self.batches_wait.set()


async def _start(broker: RabbitBroker) -> None:
    async with asyncio.timeout(START_TIMEOUT_SECONDS):
        await broker.start()


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _ignore_content(_: RabbitMessage) -> None:
    """Whatever the message says, the answer is to look into the database."""
