"""HTTP load by an open model, with a client so small that it does not show in the figures."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil
from typing import Self
from urllib.parse import urlsplit

CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """From when a request should have started to the last byte of its answer."""

    status: int
    seconds: float
    size: int


class Load:
    """Some connections that stay open."""

    def __init__(self, host: str, head: str) -> None:
        self._host, self._head = host, head
        self._idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, headers: Mapping[str, str]) -> AsyncIterator[Self]:
        address = urlsplit(url)
        lines = {"Host": address.netloc, **headers}
        load = cls(address.netloc, "".join(f"{name}: {value}\r\n" for name, value in lines.items()))
        for _ in range(CONNECTIONS):
            load._idle.put_nowait(await load._connect())
        try:
            yield load
        finally:
            while not load._idle.empty():
                load._idle.get_nowait()[1].close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self._host.partition(":")
        return await asyncio.open_connection(host, int(port), limit=2**24)

    async def run(self, paths: Sequence[str], rate: float) -> list[Sample]:
        """One request after the other at this rate a second, whether or not earlier ones are answered."""
        started = time.perf_counter() + 0.1
        due = [started + number / rate for number in range(len(paths))]
        return await asyncio.gather(*(self._get(path, at) for path, at in zip(paths, due, strict=True)))

    async def _get(self, path: str, due: float) -> Sample:
        await asyncio.sleep(due - time.perf_counter())
        reader, writer = await self._idle.get()
        if reader.at_eof():
            # The server ends connections that were idle for some seconds.
            writer.close()
            reader, writer = await self._connect()
        writer.write(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        size = int(head.partition("content-length:")[2].partition("\r\n")[0])
        await reader.readexactly(size)
        seconds = time.perf_counter() - due
        self._idle.put_nowait((reader, writer))
        return Sample(int(head[9:12]), seconds, size)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank."""
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]
