"""Hears of folds over RabbitMQ, so that cached freshness is dropped at once. Without it the cache is not used."""

import asyncio
import logging
from uuid import uuid4

import msgspec
import structlog
from faststream import AckPolicy
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_core.messages import EXCHANGE, ROLLUP_COMPLETED, RollupCompleted
from analytics_core.telemetry.logs import redact_text
from analytics_query_api.cache import FreshnessCache

log = structlog.get_logger()


class FoldListener:
    """Feeds `rollup.completed` to the cache. Every replica has a queue of its own, which goes when it goes."""

    def __init__(self, rabbitmq_url: str, cache: FreshnessCache) -> None:
        self._cache = cache
        self._broker = RabbitBroker(
            rabbitmq_url,
            apply_types=False,
            logger=logging.getLogger("faststream"),
            log_level=logging.DEBUG,
            on_close=[self._on_close],
            on_reconnected=[self._on_reconnected],
        )
        queue = RabbitQueue(f"query-api.{ROLLUP_COMPLETED}.{uuid4().hex}", routing_key=ROLLUP_COMPLETED, exclusive=True)
        exchange = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)
        # Nothing is lost with a message that fails: the next fold sends another one, and facts have a TTL.
        subscriber = self._broker.subscriber(queue, exchange, ack_policy=AckPolicy.ACK_FIRST, decoder=_decode)
        subscriber(self._on_message)

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until stopped; connects, and reconnects, as often as it takes."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                await self._broker.start()
            except Exception as error:  # noqa: BLE001 — whatever the broker's client raises, the next try may work
                text = redact_text(f"{type(error).__name__}: {error}")
                log.warning("fold_listener_failed", dependency="rabbitmq", error=text, retrying=True)
                await sleep_unless_stopped(stop, backoff.next_seconds())
            else:
                await self._on_reconnected()
                await stop.wait()
        await self._broker.stop()

    async def check(self) -> None:
        """Return when the broker is connected; raises `ConnectionError` when not."""
        if not self._cache.hears_of_folds:
            raise ConnectionError("not connected")

    async def _on_message(self, message: RollupCompleted | None) -> None:
        await self._cache.drop(message.org_ids if message is not None else None)

    def _on_close(self, *_: object) -> None:
        self._cache.hears_of_folds = False

    async def _on_reconnected(self, *_: object) -> None:
        """Folds between the connections went unheard."""
        await self._cache.drop(None)
        self._cache.hears_of_folds = True


async def _decode(message: RabbitMessage) -> RollupCompleted | None:
    """None for what cannot be read: then anything may have changed."""
    try:
        return msgspec.json.decode(message.body, type=RollupCompleted)
    except msgspec.MsgspecError as error:
        log.warning("message_unreadable", routing_key=ROLLUP_COMPLETED, error=str(error))
        return None
