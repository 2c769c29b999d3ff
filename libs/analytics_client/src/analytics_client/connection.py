"""One connection to a broker, over rstream's client, with what that leaves out.

rstream does not wake those who wait for an answer when the connection ends (they wait 10 s), reports the end of a
connection only when it carries a stream, and leaves the socket of a broken one to the garbage collector.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from rstream import OnClosedErrorInfo
from rstream.client import Client

from analytics_client.address import StreamAddress

CONNECTION_NAME = "analytics-client"
FRAME_BYTES_MAX = 1 << 20
HEARTBEAT_SECONDS = 20
ANSWER_SECONDS = 10.0
CLOSE_SECONDS = 2.0

Answer = TypeVar("Answer")


class LinkLost(Exception):
    """The connection carries nothing any more; what it has not confirmed may or may not have arrived."""


class Connection:
    """See `open_connection`. Once `lost` is set, `problem` says why and nothing works any more."""

    def __init__(self, address: StreamAddress, host: str, port: int, stream: str) -> None:
        self.client = Client(
            host,
            port,
            ssl_context=address.tls,
            frame_max=FRAME_BYTES_MAX,
            heartbeat=HEARTBEAT_SECONDS,
            connection_name=CONNECTION_NAME,
            connection_closed_handler=self._on_closed,
        )
        self.client.add_stream(stream)
        self.lost = asyncio.Event()
        self.problem: str | None = None

    def break_off(self, problem: str) -> None:
        """Note that the connection is of no use any more, and why; the first reason counts."""
        self.problem = self.problem or problem
        self.lost.set()

    async def answer(self, request: Coroutine[Any, Any, Answer]) -> Answer:
        """What a request returns or raises. Raises `LinkLost` when the connection ends first or nothing comes."""
        asking = asyncio.ensure_future(request)
        losing = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait({asking, losing}, timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            raise LinkLost(self.problem or f"no answer within {ANSWER_SECONDS:g} s")
        finally:
            losing.cancel()
            asking.cancel()
            await asyncio.wait({asking, losing})
            if not asking.cancelled():
                asking.exception()  # looked at, so that asyncio does not complain about it

    async def close(self) -> None:
        """Say goodbye unless the connection is lost, and free the socket in any case. Raises nothing."""
        connection: Any = self.client._conn  # noqa: SLF001 — a broken connection is closed nowhere else
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                if not self.lost.is_set():
                    await self.client.close()
        for task in ("heartbeat_sender", "listener"):
            with suppress(Exception):
                await self.client.stop_task(task)
        if connection is not None and connection._writer is not None:  # noqa: SLF001
            connection._writer.transport.abort()  # noqa: SLF001

    def _on_closed(self, info: OnClosedErrorInfo) -> None:
        self.break_off(info.reason)


@asynccontextmanager
async def open_connection(address: StreamAddress, host: str, port: int, stream: str) -> AsyncIterator[Connection]:
    """An authenticated connection for the length of the block.

    Raises `LinkLost`, `OSError`, and what rstream makes of a refusal.
    """
    connection = Connection(address, host, port, stream)
    try:
        await connection.answer(connection.client.start())
        await connection.answer(
            connection.client.authenticate(address.vhost, username=address.user, password=address.password)
        )
        yield connection
    finally:
        await connection.close()
