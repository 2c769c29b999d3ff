"""A TCP proxy between a client and a real server that can cut, freeze and swallow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

CHUNK_BYTES = 65_536
PASSED_SECONDS = 0.2


class FaultProxy:
    """Forwards connections to a server until told otherwise. Faults hit the open connections; `refuse` new ones."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self._open: set[_Forwarding] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepts = True
        self._stalls = False
        self._silent: list[asyncio.StreamWriter] = []
        self.stalled = asyncio.Event()
        """Set by the first connection that `stall` is for."""
        self.trap: _Trap | None = None
        self.new_answer_filter: Callable[[], Callable[[bytes], bytes]] | None = None
        """Makes what each new connection's answers go through."""

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
            for writer in proxy._silent:
                writer.transport.abort()

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

    def cut_at(self, text: bytes, *, after: bytes, passes: bool) -> "_Trap":
        """Reset the next connection on which a client sends `text` and has sent `after` since it last did.

        `passes`: the server still gets it and does what it says, but its answer is lost; else it never gets it.
        """
        self.trap = _Trap(text, after=after, passes=passes)
        return self.trap

    def corrupt_next_answer(self, longer_than: int) -> "_Trap":
        """Flip the bits in the middle of the next large piece of an answer, as bad memory does."""
        self.trap = _Trap(b"", after=b"", passes=True, longer_than=longer_than)
        return self.trap

    def deafen(self, question: "_Forwarding") -> None:
        """The answers to this direction's questions are lost from now on."""
        for forwarding in self._open:
            if forwarding.is_answer and forwarding.partner is question:
                forwarding.flowing.clear()

    def reset_answers(self, question: "_Forwarding") -> None:
        """The client of this direction sees its connection reset."""
        for forwarding in self._open:
            if forwarding.partner is question:
                forwarding.writer.transport.abort()

    def refuse(self) -> None:
        """The server is gone: open connections are reset, new ones at once."""
        self._accepts = False
        self.cut()

    def stall(self) -> None:
        """The server hangs: new connections are accepted, and nothing is ever said on them."""
        self._stalls = True

    def accept(self) -> None:
        """The server is back, for new connections."""
        self._accepts = True
        self._stalls = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._accepts:
            writer.transport.abort()
            return
        if self._stalls:
            # No connection to the server: it would end the handshake, and thus this one, after 10 s.
            self._silent.append(writer)
            self.stalled.set()
            return
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        questions = _Forwarding(self, reader, server_writer, is_answer=False)
        answers = _Forwarding(self, server_reader, writer, is_answer=True)
        answers.partner = questions
        if self.new_answer_filter is not None:
            answers.filter = self.new_answer_filter()
        for forwarding in (questions, answers):
            self._open.add(forwarding)
            task = asyncio.create_task(self._forward(forwarding))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, forwarding: "_Forwarding") -> None:
        try:
            await forwarding.run()
        finally:
            self._open.discard(forwarding)


@dataclass
class _Trap:
    """Springs once, on what passes."""

    text: bytes
    after: bytes
    passes: bool
    longer_than: int | None = None
    sprung: bool = False

    def springs(self, data: bytes, forwarding: "_Forwarding") -> bool:
        if self.sprung or forwarding.is_answer == (self.longer_than is None):
            return False
        if self.longer_than is not None:
            self.sprung = len(data) > self.longer_than
            return self.sprung
        forwarding.has_sent |= self.after in data
        if self.text in data:
            self.sprung, forwarding.has_sent = forwarding.has_sent, False
        return self.sprung


class _Forwarding:
    """One direction of one connection."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self.writer = writer
        self.is_answer = is_answer
        self.partner: _Forwarding | None = None
        self.filter: Callable[[bytes], bytes] = bytes
        self.has_sent = False
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def run(self) -> None:
        try:
            with suppress(OSError):
                while data := await self._reader.read(CHUNK_BYTES):
                    await self.flowing.wait()
                    data = self.filter(data)
                    trap = self._proxy.trap
                    springs = trap is not None and trap.springs(data, self)
                    if trap is not None and springs and trap.longer_than is not None:
                        middle = len(data) // 2
                        data = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
                        springs = False
                    if trap is None or not springs or trap.passes:
                        self.writer.write(data)
                        await self.writer.drain()
                    if springs:
                        # Time for the server to do what it was told, with nobody left to hear of it.
                        self._proxy.deafen(self)
                        await asyncio.sleep(PASSED_SECONDS if trap is not None and trap.passes else 0)
                        self._proxy.reset_answers(self)
                        return
        finally:
            self.writer.transport.abort()
