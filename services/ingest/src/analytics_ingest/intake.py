"""Makes batches of what the reader delivers: full ones under load, young ones otherwise."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

from analytics_ingest.batch import Batch, BatchSize
from analytics_ingest.chunks import Chunk, CorruptChunk, Unreadable, read_bodies
from analytics_ingest.continuity import Continuity, OffsetRegression
from analytics_ingest.limits import BATCH_AGE_MAX, DECODE_SLICE, SHORT_STREAM_PATIENCE
from analytics_ingest.metrics import GAPS
from analytics_ingest.stream_client import ReaderFailed
from analytics_ingest.stream_reader import StreamReader
from analytics_ingest.trace_links import LINKS_MAX, Parent, parents_in

# How often a batch that is old enough looks whether the one before it is committed.
BUSY_POLL_SECONDS = 0.02
_NOTHING = Chunk(first_offset=0, records=0, accepted_at=datetime(1970, 1, 1, tzinfo=UTC), entries=0, data=b"")

log = structlog.get_logger()


class Intake:
    """The batches of one attachment to a partition, in order and without overlap; none reaches over offset `cut`."""

    def __init__(
        self,
        reader: StreamReader,
        continuity: Continuity,
        partition: int,
        retention: timedelta,
        size: BatchSize,
        cut: int = -1,
    ) -> None:
        self._reader = reader
        self._continuity = continuity
        self._partition = partition
        self._retention = retention
        self._size = size
        self._cut = cut
        self._chunk = _NOTHING
        self._skip_to = 0
        self._parts: Iterator[list[bytes | Unreadable]] = iter(())
        self._headed: list[bytes] = []
        # The part at hand, the offset of its first body, and how many of its bodies are in batches or skipped.
        self._bodies: list[bytes | Unreadable] = []
        self._part_offset = 0
        self._position = 0
        self._parents: list[Parent] = []
        self._is_linked = False
        self._attached_at = monotonic()

    async def next_batch(self, patience: float, busy: "asyncio.Task[object] | None") -> Batch | None:
        """A batch when it is full, or old enough and `busy` (the commit before it) is done; None when nothing comes.

        Raises `ReaderFailed`, or `OffsetRegression` when the stream is not the one that was read.
        """
        batch = Batch(self._retention, events_max=self._size.events, bytes_max=self._size.size_bytes)
        self._is_linked = False
        old_at = monotonic() + patience
        while not batch.is_full:
            if self._has_bodies():
                if batch.received and batch.last_offset <= self._cut < self._next_offset:
                    break
                if not batch.received:
                    old_at = monotonic() + BATCH_AGE_MAX.total_seconds()
                await self._decode_slice(batch)
                continue
            wait = old_at - monotonic()
            if wait <= 0:
                if busy is None or busy.done():
                    break
                wait = BUSY_POLL_SECONDS
            chunk = await self._reader.next_chunk(wait)
            if chunk is not None:
                self._open(chunk, batch)
        return batch if batch.received else None

    async def is_caught_up(self) -> bool:
        """Whether everything that the broker had accepted when this was called is in batches already given out.

        Raises like `next_batch`.
        """
        if self._has_bodies() or not await self._reader.is_caught_up():
            return False
        if not self._continuity.is_proven:
            self._refuse_short_stream()
            return False
        return True

    @property
    def _next_offset(self) -> int:
        return self._part_offset + self._position

    def _has_bodies(self) -> bool:
        """Whether bodies of the chunk are in no batch yet. Those of its next part are read when it is their turn."""
        while self._position >= len(self._bodies):
            self._headed.clear()
            part = next(self._parts, None)
            if part is None:
                return False
            self._part_offset += len(self._bodies)
            self._bodies = part
            self._position = min(len(part), max(0, self._skip_to - self._part_offset))
            self._parents, self._is_linked = parents_in(b"".join(self._headed), LINKS_MAX), False
        return True

    async def _decode_slice(self, batch: Batch) -> None:
        if not self._is_linked:
            # Where in the part a context stands is not known: all batches that share it get those that it has.
            batch.trace_parents += self._parents[: LINKS_MAX - len(batch.trace_parents)]
            self._is_linked = True
        to_cut = self._cut + 1 - self._next_offset
        length = min(DECODE_SLICE, to_cut) if to_cut > 0 else DECODE_SLICE
        bodies = self._bodies[self._position : self._position + length]
        self._position += batch.add(bodies, self._next_offset, self._chunk.accepted_at)
        await asyncio.sleep(0)

    def _open(self, chunk: Chunk, batch: Batch) -> None:
        skip, gap = self._continuity.admit(chunk)
        if gap is not None:
            batch.gaps.append(gap)
            GAPS.labels(self._partition).inc()
            log.error(
                "stream_gap",
                partition=self._partition,
                first_missing_offset=gap.first_offset,
                next_offset=gap.end_offset,
                remedy="retention removed messages before they were read: raise it, or find why ingest was behind",
            )
        self._chunk, self._skip_to = chunk, chunk.first_offset + skip
        self._parts = read_bodies(chunk, self._headed)
        self._bodies, self._part_offset, self._position = [], chunk.first_offset, 0
        try:
            self._has_bodies()
        except CorruptChunk as error:
            raise ReaderFailed("corrupt_chunk", f"at offset {chunk.first_offset}: {error}") from error

    def _refuse_short_stream(self) -> None:
        if monotonic() - self._attached_at > SHORT_STREAM_PATIENCE.total_seconds():
            raise OffsetRegression(
                f"the stream ends before offset {self._continuity.attach_offset}, which was committed: it was deleted"
                " and made again, or the broker lost its end"
            )
