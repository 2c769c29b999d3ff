"""A subscription to one partition: chunks in order, credit for what fits, and proof when there is nothing to read."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from rstream import exceptions, schema
from rstream.constants import OffsetType

from analytics_ingest.chunks import Chunk
from analytics_ingest.limits import (
    LAST_CHUNK_MAX,
    READER_BUFFER_BYTES_MAX,
    READER_CREDIT,
    READER_CREDIT_STEP,
    READER_OPEN_MAX,
)
from analytics_ingest.stream_client import Broker, ReaderFailed, StreamClient, StreamSpec, connect_to_partition

SUBSCRIPTION_ID = 0
END_SUBSCRIPTION_ID = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StreamReader:
    """One subscription on a connection of its own. Any failure is final: build another reader.

    Memory: at most `READER_BUFFER_BYTES_MAX` and `READER_CREDIT` chunks more, however long the stream.
    """

    def __init__(self, client: StreamClient, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._chunks: deque[Chunk] = deque()
        self._buffered_bytes = 0
        self._credit_owed = 0
        self._changed = asyncio.Event()
        self._failure: ReaderFailed | None = None
        self._last_chunk: asyncio.Future[Chunk] | None = None
        self.delivered_chunks = 0
        """So far; does not count the one that tells the end."""
        self._delivered_through = 0
        # 0 until the broker has said that it has something; None when it has, and says nothing any more.
        self._end: int | None = 0

    async def subscribe(self, offset: int) -> None:
        """Start delivery at the chunk that holds `offset`, or at the first one if that is later."""
        name = str(SUBSCRIPTION_ID)
        self._client.on_closed = lambda: self._fail(ReaderFailed("connection_closed", "by the broker"))
        # rstream queues a chunk per handler; a task of its own then passes them on, one at a time.
        self._client.add_handler(schema.Deliver, self._on_deliver, name=name)
        self._client.add_handler(schema.MetadataUpdate, self._on_metadata_update, name=name)
        self._client.add_handler(schema.CreditResponse, self._on_credit_refused, name=name)
        await self._client.run_queue_listener_task(SUBSCRIPTION_ID, self._on_deliver)
        self._delivered_through = offset
        await self._subscribe(SUBSCRIPTION_ID, schema.OffsetSpec.from_params(OffsetType.OFFSET, offset), READER_CREDIT)

    async def next_chunk(self, patience: float) -> Chunk | None:
        """The next chunk; None when none came within `patience` seconds. Raises `ReaderFailed`."""
        if not self._chunks:
            await self._wait(patience)
        if not self._chunks:
            return None
        chunk = self._chunks.popleft()
        self._buffered_bytes -= len(chunk.data)
        await self._grant_credit()
        return chunk

    async def is_caught_up(self) -> bool:
        """Whether everything accepted before this call was taken from the reader. Raises `ReaderFailed`.

        The broker sends on credit as soon as there is something to send, and it answers in order: an answer to a
        question on the same connection, with nothing before it, proves that there was nothing. Unless the subscription
        is dead, which is known once `end_offset` has found more than was delivered.
        """
        if not await self._client.answers(self._stream):
            raise ReaderFailed("stream_missing", f"{self._stream} does not exist")
        is_waiting = self._chunks or self._client.has_frames_waiting(SUBSCRIPTION_ID)
        has_credit = self._credit_owed < READER_CREDIT
        return has_credit and not (is_waiting or self.is_owed)

    @property
    def is_owed(self) -> bool:
        """Whether the broker holds back what it may deliver, by the latest `end_offset`, or does not answer it now."""
        return not self._chunks and (self._end is None or self._end > self._delivered_through)

    async def end_offset(self) -> int | None:
        """The offset behind the last message that the broker has; None when it shows none. Raises `ReaderFailed`.

        By a second subscription on the same connection, which gets the last chunk and no credit for another.
        """
        self._last_chunk = asyncio.get_running_loop().create_future()
        await self._subscribe(END_SUBSCRIPTION_ID, schema.OffsetSpec(OffsetType.LAST), credit=1)
        try:
            async with asyncio.timeout(LAST_CHUNK_MAX.total_seconds()):
                self._end = (await self._last_chunk).end_offset
        except TimeoutError:
            self._end = None if self._end != 0 else 0
            return None
        finally:
            self._last_chunk = None
            with suppress(OSError, TimeoutError, exceptions.ServerError):
                await self._client.unsubscribe(END_SUBSCRIPTION_ID)
        return self._end

    async def _subscribe(self, number: int, start: schema.OffsetSpec, credit: int) -> None:
        try:
            async with asyncio.timeout(READER_OPEN_MAX.total_seconds()):
                await self._client.subscribe(self._stream, number, offset_spec=start, initial_credit=credit)
        except (OSError, TimeoutError, exceptions.ServerError) as error:
            raise ReaderFailed("not_subscribed", f"{self._stream}: {error!r}") from error

    async def _wait(self, patience: float) -> None:
        self._raise_failure()
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._changed.wait()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None and not self._chunks:
            raise self._failure

    async def _on_deliver(self, frame: schema.Deliver) -> None:
        # An exception here would make rstream skip the chunk with no more than a log line.
        try:
            chunk = Chunk(
                first_offset=frame.chunk_first_offset,
                records=frame.num_records,
                accepted_at=_EPOCH + timedelta(milliseconds=frame.timestamp),
                entries=frame.num_entries,
                data=frame.data,
            )
            if frame.subscription_id == END_SUBSCRIPTION_ID:
                if self._last_chunk is not None and not self._last_chunk.done():
                    self._last_chunk.set_result(chunk)
                return
            self._chunks.append(chunk)
            self.delivered_chunks += 1
            self._delivered_through = chunk.end_offset
            self._buffered_bytes += len(frame.data)
            self._credit_owed += 1
            self._changed.set()
            await self._grant_credit()
        except Exception as error:  # noqa: BLE001 — whatever it is, the reader ends with it
            self._fail(ReaderFailed("delivery_failed", repr(error)))

    async def _grant_credit(self) -> None:
        if self._credit_owed >= READER_CREDIT_STEP and self._buffered_bytes < READER_BUFFER_BYTES_MAX:
            credit, self._credit_owed = self._credit_owed, 0
            await self._client.credit(SUBSCRIPTION_ID, credit)

    def _on_metadata_update(self, frame: schema.MetadataUpdate) -> None:
        if frame.metadata_info.stream == self._stream:
            self._fail(ReaderFailed("stream_unavailable", f"{self._stream} was deleted or has moved"))

    def _on_credit_refused(self, frame: schema.CreditResponse) -> None:
        self._fail(ReaderFailed("credit_refused", f"code {frame.response_code}"))

    def _fail(self, failure: ReaderFailed) -> None:
        self._failure = self._failure or failure
        self._changed.set()


OpenReader = Callable[[int, int], AbstractAsyncContextManager[StreamReader]]
"""Opens a reader of a partition at an offset, for the length of a block."""


@asynccontextmanager
async def open_reader(
    broker: Broker, name: str, spec: StreamSpec, partition: int, offset: int
) -> AsyncIterator[StreamReader]:
    """A reader of the partition for the length of the block. Raises `ReaderFailed`."""
    async with connect_to_partition(broker, name, spec, partition) as client:
        reader = StreamReader(client, spec.partition_name(partition))
        await reader.subscribe(offset)
        yield reader


async def ends_of(broker: Broker, name: str, spec: StreamSpec, partition: int) -> tuple[int, int]:
    """The first offset that the partition has and the next one that it will give; (0, 0) for an empty one.

    Raises `ReaderFailed`, also when there is no such stream.
    """
    async with connect_to_partition(broker, name, spec, partition, declare=False) as client:
        reader = StreamReader(client, spec.partition_name(partition))
        await reader.subscribe(0)
        if await reader.is_caught_up():
            return 0, 0
        first = await reader.next_chunk(LAST_CHUNK_MAX.total_seconds())
        end = await reader.end_offset()
        if first is None or end is None:
            raise ReaderFailed("no_answer", f"{spec.partition_name(partition)} delivers nothing")
        return first.first_offset, end
