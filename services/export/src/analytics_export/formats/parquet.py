"""Parquet, written by a process of its own.

Arrow takes 60 MB to import and some more to work: beside the service it would pass the memory that a worker may take,
in a process of its own it stays below the same bound, uses another core and gives everything back at the end.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from analytics_core.errors import AnalyticsError
from analytics_export.columns import Column

READ_BYTES = 1 << 20
STDERR_BYTES_MAX = 4000
# Arrow's own allocators keep what was freed: 1,600,000 rows peak at 150 MB with them and at 113 MB so.
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "1000000",
}


class EncoderError(AnalyticsError):
    """The process that writes Parquet ended before its work was done."""


@dataclass(frozen=True, slots=True)
class _Running:
    process: Process
    input: asyncio.StreamWriter
    passing_on: asyncio.Task[None]


class Parquet:
    """Feeds CSV into the process and its output into the sink; both sides wait for each other."""

    def __init__(self, sink: Callable[[bytes], Awaitable[None]], columns: Sequence[Column]) -> None:
        self._sink = sink
        self._columns = json.dumps([(column.name, column.kind) for column in columns])
        self._running: _Running | None = None

    async def write(self, piece: bytes) -> None:
        """Take the next rows as CSV with a header. Raises what the sink raised, or `EncoderError`."""
        running = self._running or await self._start()
        try:
            running.input.write(piece)
            await running.input.drain()
        except (BrokenPipeError, ConnectionResetError):
            await self._end(running)
            raise

    async def finish(self) -> None:
        """Return when the whole file has reached the sink."""
        running = self._running or await self._start()
        running.input.close()
        await self._end(running)

    async def close(self) -> None:
        """End the process, wherever it is."""
        if self._running is None:
            return
        self._running.passing_on.cancel()
        await asyncio.gather(self._running.passing_on, return_exceptions=True)
        if self._running.process.returncode is None:
            self._running.process.kill()
        await self._running.process.wait()

    async def _start(self) -> _Running:
        # Neither the environment, where secrets are, nor the folder that the service runs in reaches the process.
        command = (sys.executable, "-I", "-m", "analytics_export.formats.parquet_process", self._columns)
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=ENVIRONMENT)
        if process.stdin is None or process.stdout is None:
            raise EncoderError("no pipes")
        passing_on = asyncio.create_task(self._pass_on(process, process.stdout))
        self._running = _Running(process, process.stdin, passing_on)
        return self._running

    async def _pass_on(self, process: Process, output: asyncio.StreamReader) -> None:
        try:
            while data := await output.read(READ_BYTES):
                await self._sink(data)
        finally:
            if not output.at_eof():  # whoever feeds the process must not wait for ever
                process.kill()

    async def _end(self, running: _Running) -> None:
        await running.passing_on
        said = await running.process.stderr.read(STDERR_BYTES_MAX) if running.process.stderr else b""
        if code := await running.process.wait():
            raise EncoderError(f"exit code {code}: {said.decode(errors='replace').strip()}")
