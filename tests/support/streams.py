"""Streams of a test: made, published to by others, and read back as they are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from rstream import AMQPMessage, Consumer, ConsumerOffsetSpecification, MessageContext, OffsetType, amqp_decoder
from rstream.client import Client, ClientPool

from tests.support.stack import RabbitMq

QUIET_SECONDS = 0.3
ATTEMPTS = 3


@asynccontextmanager
async def stream_client(rabbitmq: RabbitMq) -> AsyncIterator[Client]:
    """A connection for commands: create, delete, partitions."""
    pool = ClientPool(
        rabbitmq.host,
        rabbitmq.stream_port,
        vhost=rabbitmq.vhost,
        username=rabbitmq.user,
        password=rabbitmq.password,
        frame_max=1 << 20,
        heartbeat=60,
        load_balancer_mode=False,
        max_retries=1,
    )
    try:
        yield await pool.get("test")
    finally:
        await pool.close()


@dataclass(frozen=True)
class Stream:
    """One stream, or the partitions of one super stream."""

    rabbitmq: RabbitMq
    name: str
    partitions: tuple[str, ...] = ()

    async def create(self) -> "Stream":
        """Declare it; a stream of this name must not exist."""
        async with stream_client(self.rabbitmq) as client:
            if self.partitions:
                keys = [str(number) for number in range(len(self.partitions))]
                await client.create_super_stream(self.name, list(self.partitions), keys)
            else:
                await client.create_stream(self.name)
        return self

    async def bodies(self, at_least: int, patience_seconds: float = 30.0) -> list[bytes]:
        """The bodies of all messages, partition by partition, once there are so many and no more come for a moment.

        Raises `TimeoutError` when there are fewer. rstream's consumer can miss the first chunks of a subscription, on a
        busy machine, and then hears nothing more: a new one reads everything again.
        """
        for _ in range(ATTEMPTS - 1):
            with suppress(TimeoutError):
                return await self._read(at_least, patience_seconds / ATTEMPTS)
        return await self._read(at_least, patience_seconds)

    async def _read(self, at_least: int, patience_seconds: float) -> list[bytes]:
        found: dict[str, list[bytes]] = {name: [] for name in self.partitions or (self.name,)}
        consumer = Consumer(
            self.rabbitmq.host,
            self.rabbitmq.stream_port,
            vhost=self.rabbitmq.vhost,
            username=self.rabbitmq.user,
            password=self.rabbitmq.password,
        )
        await consumer.start()
        try:
            for name, bodies in found.items():
                await consumer.subscribe(
                    name,
                    _collector(bodies),
                    decoder=amqp_decoder,
                    offset_specification=ConsumerOffsetSpecification(OffsetType.FIRST),
                )
            await _settled(found, at_least, patience_seconds)
        finally:
            await consumer.close()
        return [body for bodies in found.values() for body in bodies]


def _collector(bodies: list[bytes]) -> Callable[[AMQPMessage, MessageContext], None]:
    def collect(message: AMQPMessage, _: MessageContext) -> None:
        bodies.append(b"".join(message.body) if not isinstance(message.body, bytes) else message.body)

    return collect


async def _settled(found: dict[str, list[bytes]], at_least: int, patience_seconds: float) -> None:
    seen = -1
    async with asyncio.timeout(patience_seconds):
        while seen < at_least or seen != sum(map(len, found.values())):
            seen = sum(map(len, found.values()))
            await asyncio.sleep(QUIET_SECONDS)
