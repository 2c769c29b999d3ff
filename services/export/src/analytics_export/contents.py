"""What is really in an exported file: its bytes hashed, its rows added up, whatever its manifest says.

The rows are read by a process of its own, which needs no more memory for a large file than for a small one: beside the
service, readers would hold up its event loop, and Arrow would take more memory than the service may.
"""

import asyncio
import hashlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from analytics_export.formats.catalogue import Format
from analytics_export.formats.parquet import ENVIRONMENT, EncoderError
from analytics_export.formats.rows_process import CALLS, COST, MEASURES, MODEL
from analytics_export.jobs import JobRequest
from analytics_export.storage import ObjectStore
from analytics_export.templates import TEMPLATES
from analytics_export.totals import Totals, added

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 10,000 models and as many buckets, each with six sums.
_ANSWER_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """Sums over the rows of a file. `models` is None where rows have no model, or too many to tell them apart."""

    count: int
    buckets: Mapping[datetime, Totals]
    models: Mapping[str, Totals] | None

    @property
    def totals(self) -> Totals:
        """Over all rows."""
        return added(*self.buckets.values())


@dataclass(frozen=True, slots=True)
class _Reader:
    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds; in place of the rows, why they cannot be read."""

    size_bytes: int
    sha256: str
    rows: Rows | str


async def contents(store: ObjectStore, key: str, request: JobRequest) -> Contents:
    """Read a file's bytes and on the way its rows, those of Parquet once more by ranges. Raises `StorageError`."""
    if request.format is Format.PARQUET:
        size_bytes, sha256 = await _hashed(store.read(key))
        async with _reader(request, size_bytes) as process:
            return Contents(size_bytes, sha256, await _answer(process, partial(store.read_range, key)))
    async with _reader(request) as process:
        size_bytes, sha256 = await _hashed(_passed_on(store.read(key), process.stdin))
        return Contents(size_bytes, sha256, await _answer(process))


async def _hashed(pieces: AsyncIterator[bytes]) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    async for piece in pieces:
        digest.update(piece)
        size_bytes += len(piece)
    return size_bytes, digest.hexdigest()


async def _passed_on(pieces: AsyncIterator[bytes], reader: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece
        await _give(reader, piece)
    reader.close()


async def _give(reader: asyncio.StreamWriter, data: bytes) -> None:
    if reader.is_closing():  # it has given up, and says why in its answer
        return
    with suppress(ConnectionError):
        reader.write(data)
        await reader.drain()


@asynccontextmanager
async def _reader(request: JobRequest, size_bytes: int = 0) -> AsyncIterator[_Reader]:
    # As for the process that writes Parquet: no environment, where secrets are.
    command = (sys.executable, "-I", "-m", "analytics_export.formats.rows_process", request.format)
    columns = TEMPLATES[request.template].columns(request.granularity, request.group_by)
    times = columns[0].name
    names = [name for name in (times, MODEL, CALLS, *MEASURES, COST) if name in {column.name for column in columns}]
    process = await asyncio.create_subprocess_exec(
        *command, times, json.dumps(names), str(size_bytes),
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=ENVIRONMENT, limit=_ANSWER_BYTES_MAX,
    )  # fmt: skip
    if process.stdin is None or process.stdout is None:
        raise EncoderError("no pipes")
    try:
        yield _Reader(process.stdin, process.stdout)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def _answer(process: _Reader, read: Callable[[int, int], Awaitable[bytes]] | None = None) -> Rows | str:
    while True:
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            return "its rows could not be read: the reader ended before its work was done"
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            return f"its rows could not be read: {said['error']}"
        if read is None or "offset" not in said:
            return _rows(said)
        await _give(process.stdin, await read(said["offset"], said["length"]))


def _rows(said: dict[str, Any]) -> Rows | str:
    try:
        buckets = {_instant(start): Totals(*sums) for start, sums in said["buckets"]}
    except ValueError as error:
        return f"its rows could not be read: {error}"
    models = said["models"]
    by_model = models and {name: Totals(*sums) for name, sums in models.items()}
    return Rows(said["rows"], buckets, by_model)


def _instant(spelled: str | int) -> datetime:
    """Text as in CSV and JSON Lines, microseconds as in Parquet."""
    if isinstance(spelled, int):
        return _EPOCH + timedelta(microseconds=spelled)
    return datetime.fromisoformat(spelled).astimezone(UTC)
