"""A TCP proxy between a client and a real server that can cut, freeze and swallow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

CHUNK_BYTES = 65_536


class FaultProxy:
    """Forwards connections to a server until told otherwise. Faults hit the open connections; `refuse` new ones."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self._open: set[_Forwarding] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepts = True

    @classmethod
    @asynccontextmanager
    async def open(cls, target_host: str, target_port: int) -> AsyncIterator[Self]:
        """A listening proxy for the length of the block."""
        proxy = cls(target_host, target_port)
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        try:
            yield proxy
        finally:
            proxy._server.close()
            for task in proxy._tasks:
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Reset the open connections, as a crashed server or a firewall does."""
        for forwarding in self._open:
            forwarding.writer.transport.abort()

    def freeze(self) -> None:
        """Nothing passes any more in either direction, and nobody is told: a half-open connection."""
        for forwarding in self._open:
            forwarding.flowing.clear()

    def swallow_answers(self) -> None:
        """The server gets everything, the client hears nothing: its confirms are lost."""
        for forwarding in self._open:
            if forwarding.is_answer:
                forwarding.flowing.clear()

    def refuse(self) -> None:
        """The server is gone: open connections are reset, new ones at once."""
        self._accepts = False
        self.cut()

    def accept(self) -> None:
        """The server is back."""
        self._accepts = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._accepts:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        for forwarding in (
            _Forwarding(reader, server_writer, is_answer=False),
            _Forwarding(server_reader, writer, is_answer=True),
        ):
            self._open.add(forwarding)
            task = asyncio.create_task(self._forward(forwarding))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, forwarding: "_Forwarding") -> None:
        try:
            await forwarding.run()
        finally:
            self._open.discard(forwarding)


class _Forwarding:
    """One direction of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        self._reader = reader
        self.writer = writer
        self.is_answer = is_answer
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def run(self) -> None:
        try:
            with suppress(OSError):
                while data := await self._reader.read(CHUNK_BYTES):
                    await self.flowing.wait()
                    self.writer.write(data)
                    await self.writer.drain()
        finally:
            self.writer.transport.abort()
