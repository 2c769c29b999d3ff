"""The wake-ups of the export service over RabbitMQ. They may all be lost: workers poll as well.

Neither a request nor a job ever waits for the broker: messages are queued here and published, or dropped, behind them.
"""

import asyncio
from uuid import uuid4

import msgspec
import structlog
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue

from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_core.messages import (
    CONNECT_TIMEOUT_SECONDS,
    EXCHANGE,
    EXPORT_COMPLETED,
    EXPORT_REQUESTED,
    ExportCompleted,
    ExportRequested,
)
from analytics_export.limits import WAKE_UPS_WAITING_MAX

log = structlog.get_logger()

_EXCHANGE = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)


class WakeUps:
    """`requested` is set whenever a job may be waiting, by this process or by another one.

    `sweep_due` and `webhooks_due` are set when a job has ended in this process.
    """

    def __init__(self, rabbitmq_url: str) -> None:
        self.requested = asyncio.Event()
        self.sweep_due = asyncio.Event()
        self.webhooks_due = asyncio.Event()
        self._outbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(WAKE_UPS_WAITING_MAX)
        self._broker = RabbitBroker(
            rabbitmq_url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            logger=None,
            default_channel=Channel(prefetch_count=100),
            graceful_timeout=1.0,
        )
        # A queue for this process alone: a job wakes idle workers in every replica, one of which claims it.
        queue = RabbitQueue(
            f"analytics-export.{uuid4()}", exclusive=True, auto_delete=True, routing_key=EXPORT_REQUESTED
        )
        self._broker.subscriber(queue, _EXCHANGE, ack_policy=AckPolicy.ACK_FIRST)(self._on_requested)

    def announce_request(self, message: ExportRequested) -> None:
        """Wake the workers of all replicas, those of this process at once."""
        self.requested.set()
        self._put(EXPORT_REQUESTED, message)

    def announce_end(self, message: ExportCompleted) -> None:
        """Tell whoever listens that a job has ended, those in this process first."""
        self.sweep_due.set()
        self.webhooks_due.set()
        self._put(EXPORT_COMPLETED, message)

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, again and again if need be, and publish until stopped."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                await self._broker.start()
                break
            except Exception as error:  # noqa: BLE001 — whatever keeps the broker away, the service goes on without it
                log.warning("rabbitmq_unreachable", error=f"{type(error).__name__}: {error}", retrying=True)
                await sleep_unless_stopped(stop, backoff.next_seconds())
        try:
            await self._publish_until(stop)
        finally:
            await self._broker.stop()

    async def check(self) -> None:
        """Return when connected."""
        if not await self._broker.ping(timeout=1.0):
            raise ConnectionError("not connected to RabbitMQ")

    async def _on_requested(self) -> None:
        self.requested.set()

    def _put(self, routing_key: str, message: msgspec.Struct) -> None:
        try:
            self._outbox.put_nowait((routing_key, msgspec.json.encode(message)))
        except asyncio.QueueFull:
            log.warning("wake_up_dropped", routing_key=routing_key)

    async def _publish_until(self, stop: asyncio.Event) -> None:
        publishing = asyncio.create_task(self._publish())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({publishing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (publishing, stopping):
            task.cancel()
        await asyncio.gather(publishing, stopping, return_exceptions=True)

    async def _publish(self) -> None:
        while True:
            routing_key, body = await self._outbox.get()
            try:
                async with asyncio.timeout(5):
                    await self._broker.publish(
                        body, exchange=_EXCHANGE, routing_key=routing_key, content_type="application/json"
                    )
            except Exception as error:  # noqa: BLE001 — as above; a channel that reconnects raises RuntimeError, too
                log.warning("wake_up_dropped", routing_key=routing_key, error=f"{type(error).__name__}: {error}")
