"""Hears of folds over RabbitMQ, so that cached freshness is dropped at once. Without it the cache is not used."""

import asyncio
import logging
from uuid import uuid4

import msgspec
import structlog
from faststream import AckPolicy
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_core.messages import CONNECT_TIMEOUT_SECONDS, EXCHANGE, ROLLUP_COMPLETED, RollupCompleted
from analytics_core.telemetry.logs import redact_text
from analytics_query_api.cache import FreshnessCache
from analytics_query_api.live.hub import LiveHub

log = structlog.get_logger()


class FoldListener:
    """Feeds `rollup.completed` to cache and live streams. Every replica has a queue of its own that goes with it."""

    def __init__(self, rabbitmq_url: str, cache: FreshnessCache, live: LiveHub) -> None:
        self._url = rabbitmq_url
        self._cache = cache
        self._live = live
        self._first_try = asyncio.Event()
        self._first_try.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until stopped; connects as often as it takes."""
        self._first_try.clear()
        backoff = Backoff()
        while not stop.is_set():
            try:
                await self._listen(stop, backoff)
            except Exception as error:  # noqa: BLE001 — whatever the broker's client raises, the next try may work
                text = redact_text(f"{type(error).__name__}: {error}")
                log.warning("fold_listener_failed", dependency="rabbitmq", error=text, retrying=True)
            self._first_try.set()
            await sleep_unless_stopped(stop, backoff.next_seconds())

    async def check(self) -> None:
        """Return when the broker is connected; raises `ConnectionError` when not. Waits for the first try to end."""
        await self._first_try.wait()
        if not self._cache.hears_of_folds:
            raise ConnectionError("not connected")

    async def _listen(self, stop: asyncio.Event, backoff: Backoff) -> None:
        """One connection, from its start to its end or the service's.

        A lost one is not left to the client's own recovery: that may come back without its consumers
        (github.com/ag2ai/faststream/issues/2758), and then the cache would be believed and never told anything.
        """
        ended = asyncio.Event()
        broker = self._broker(ended)
        try:
            await broker.start()
            # Only now is everything heard; what was folded before this moment is dropped.
            await self._cache.drop(None)
            self._cache.hears_of_folds = True
            self._live.wake(None)
            self._first_try.set()
            backoff.reset()
            await _first_of(stop, ended)
        finally:
            self._cache.hears_of_folds = False
            await broker.stop()

    def _broker(self, ended: asyncio.Event) -> RabbitBroker:
        def on_close(*_: object) -> None:
            self._cache.hears_of_folds = False
            ended.set()

        broker = RabbitBroker(
            self._url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            apply_types=False,
            logger=logging.getLogger("faststream"),
            log_level=logging.DEBUG,
            on_close=[on_close],
        )
        queue = RabbitQueue(f"query-api.{ROLLUP_COMPLETED}.{uuid4().hex}", routing_key=ROLLUP_COMPLETED, exclusive=True)
        exchange = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)
        # Nothing is lost with a message that fails: the next fold sends another one, and facts have a TTL.
        subscriber = broker.subscriber(queue, exchange, ack_policy=AckPolicy.ACK_FIRST, decoder=_decode)
        subscriber(self._on_message)
        return broker

    async def _on_message(self, message: RollupCompleted | None) -> None:
        org_ids = message.org_ids if message is not None else None
        self._live.wake(org_ids)
        await self._cache.drop(org_ids)


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _decode(message: RabbitMessage) -> RollupCompleted | None:
    """None for what cannot be read: then anything may have changed."""
    try:
        return msgspec.json.decode(message.body, type=RollupCompleted)
    except msgspec.MsgspecError as error:
        log.warning("message_unreadable", routing_key=ROLLUP_COMPLETED, error=str(error))
        return None
