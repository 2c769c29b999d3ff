"""Asks the stream broker whether it is there, on a connection of its own: a replica may own no partition."""

import asyncio
from contextlib import AsyncExitStack

from analytics_ingest.stream_client import Broker, StreamClient, connect


class StreamProbe:
    """Keeps one connection, so that a check costs one round trip."""

    def __init__(self, broker: Broker, name: str, stream: str) -> None:
        self._broker = broker
        self._name = name
        self._stream = stream
        self._connection: AsyncExitStack | None = None
        self._client: StreamClient | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def check(self) -> None:
        """Return when the broker answers; raises `ReaderFailed` when it does not."""
        try:
            if self._client is None:
                self._connection = AsyncExitStack()
                self._client = await self._connection.enter_async_context(connect(self._broker, self._name))
                self._client.on_closed = self._let_go
            await self._client.answers(self._stream)
        except BaseException:
            self._let_go()
            raise

    async def close(self) -> None:
        """Let go of the connection, and wait until it is gone."""
        self._let_go()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _let_go(self) -> None:
        """In the background: saying good-bye to a broker that is away takes seconds, and somebody waits for a check."""
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            task = asyncio.create_task(connection.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
