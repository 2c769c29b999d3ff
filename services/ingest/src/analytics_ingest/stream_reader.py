"""A subscription to one partition: chunks in order, credit for what fits, and proof when there is nothing to read."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from rstream import exceptions, schema
from rstream.constants import OffsetType

from analytics_ingest.chunks import Chunk
from analytics_ingest.limits import READER_BUFFER_BYTES_MAX, READER_CREDIT, READER_OPEN_MAX
from analytics_ingest.stream_client import Broker, ReaderFailed, StreamClient, StreamSpec, connect_to_partition

SUBSCRIPTION_ID = 0
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

    async def subscribe(self, offset: int) -> None:
        """Start delivery at the chunk that holds `offset`, or at the first one if that is later."""
        name = str(SUBSCRIPTION_ID)
        self._client.on_closed = lambda: self._fail(ReaderFailed("connection_closed", "by the broker"))
        # rstream queues a chunk per handler; a task of its own then passes them on, one at a time.
        self._client.add_handler(schema.Deliver, self._on_deliver, name=name)
        self._client.add_handler(schema.MetadataUpdate, self._on_metadata_update, name=name)
        self._client.add_handler(schema.CreditResponse, self._on_credit_refused, name=name)
        await self._client.run_queue_listener_task(SUBSCRIPTION_ID, self._on_deliver)
        await self._client.subscribe(
            self._stream,
            SUBSCRIPTION_ID,
            offset_spec=schema.OffsetSpec.from_params(OffsetType.OFFSET, offset),
            initial_credit=READER_CREDIT,
        )

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
        question on the same connection, with nothing before it, proves that there was nothing.
        """
        if not await self._client.answers(self._stream):
            raise ReaderFailed("stream_missing", f"{self._stream} does not exist")
        return not (self._chunks or self._client.has_frames_waiting(SUBSCRIPTION_ID) or self._credit_owed)

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
            self._chunks.append(
                Chunk(
                    first_offset=frame.chunk_first_offset,
                    records=frame.num_records,
                    accepted_at=_EPOCH + timedelta(milliseconds=frame.timestamp),
                    entries=frame.num_entries,
                    data=frame.data,
                )
            )
            self._buffered_bytes += len(frame.data)
            self._credit_owed += 1
            self._changed.set()
            await self._grant_credit()
        except Exception as error:  # noqa: BLE001 — whatever it is, the reader ends with it
            self._fail(ReaderFailed("delivery_failed", repr(error)))

    async def _grant_credit(self) -> None:
        if self._credit_owed and self._buffered_bytes < READER_BUFFER_BYTES_MAX:
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
        try:
            async with asyncio.timeout(READER_OPEN_MAX.total_seconds()):
                await reader.subscribe(offset)
        except (OSError, TimeoutError, exceptions.ServerError) as error:
            raise ReaderFailed("not_subscribed", f"{spec.partition_name(partition)}: {error!r}") from error
        yield reader
