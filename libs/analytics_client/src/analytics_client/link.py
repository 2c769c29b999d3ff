"""One connection that publishes to one stream (a partition, or a stream that has none).

rstream reports too little to rely on: a frame on a dead connection is dropped in silence, a listener that dies takes
the confirms with it, a missing heartbeat is only logged. So every event is kept here until its own confirm comes, and
one that waits longer than the patience breaks the link, whatever the connection looks like. Once broken, a link stays
broken: the caller opens another one and sends what is in `unconfirmed` again.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from rstream import OnClosedErrorInfo, schema
from rstream.client import Addr, Client, ClientPool
from rstream.exceptions import ServerError

from analytics_client.address import StreamAddress
from analytics_client.buffer import Pending
from analytics_client.encoding import data_section

CONNECTION_NAME = "analytics-client"
FRAME_BYTES_MAX = 1 << 20
# The broker stops reading from a connection with 50,000 unconfirmed messages (`stream.initial_credits`).
UNCONFIRMED_MAX = 20_000
HEARTBEAT_SECONDS = 20
OPEN_SECONDS = 15.0
CLOSE_SECONDS = 5.0
PUBLISHER_ID = 1


class LinkLost(Exception):
    """The link carries nothing any more; what it has not confirmed may or may not have arrived."""


class Link:
    """An open link; see `open_link`."""

    def __init__(self, client: Client, confirmed: Callable[[Pending], None], patience_seconds: float) -> None:
        self.unconfirmed: dict[int, Pending] = {}
        self.has_confirmed = False
        self._client = client
        self._confirmed = confirmed
        self._patience = patience_seconds
        self._ids = itertools.count(1)
        self._problem: str | None = None
        self._broken = asyncio.Event()
        self._moved = asyncio.Event()

    async def send(self, batch: list[Pending]) -> None:
        """Send events, which are in `unconfirmed` from now on; returns before they are confirmed.

        Waits first while too many are unconfirmed. Raises `LinkLost`.
        """
        now = asyncio.get_running_loop().time()
        messages = []
        for publishing_id, pending in zip(self._ids, batch, strict=False):
            pending.sent_at = now
            self.unconfirmed[publishing_id] = pending
            messages.append(schema.Message(publishing_id, filter_value=None, data=data_section(pending.body)))
        await self._client.send_publish_frame(schema.Publish(PUBLISHER_ID, messages))
        if not self._client.is_connection_alive():
            raise LinkLost("the connection is closed")

    async def wait_for_window(self) -> None:
        """Return when the broker has confirmed enough to be sent more."""
        while len(self.unconfirmed) >= UNCONFIRMED_MAX:
            self._moved.clear()
            await self._moved.wait()

    async def watch(self) -> None:
        """Never returns: raises `LinkLost` when the connection ends or a confirm is overdue."""
        while self._problem is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience / 8):
                    await self._broken.wait()
            oldest = next(iter(self.unconfirmed.values()), None)
            now = asyncio.get_running_loop().time()
            if oldest is not None and now - oldest.sent_at > self._patience:
                self.break_off(f"no confirm within {self._patience:g} s")
        raise LinkLost(self._problem)

    def break_off(self, problem: str) -> None:
        """Note that the link is of no use any more, and why."""
        self._problem = self._problem or problem
        self._broken.set()

    def on_confirm(self, frame: schema.PublishConfirm) -> None:
        for publishing_id in frame.publishing_ids:
            pending = self.unconfirmed.pop(publishing_id, None)
            if pending is not None:
                self._confirmed(pending)
        self.has_confirmed = True
        self._moved.set()

    def on_error(self, frame: schema.PublishError) -> None:
        code = frame.errors[0].response_code if frame.errors else 0
        self.break_off(f"the broker refuses to store events: {ServerError.from_code(code).__name__} ({code})")

    def on_metadata_update(self, _: schema.MetadataUpdate) -> None:
        self.break_off("the stream was deleted or has moved to another broker")


@asynccontextmanager
async def open_link(
    address: StreamAddress, stream: str, confirmed: Callable[[Pending], None], patience_seconds: float
) -> AsyncIterator[Link]:
    """Connect to the stream's leader and be ready to send. Raises whatever rstream raises when that fails."""
    opened: list[Link] = []

    def on_closed(info: OnClosedErrorInfo) -> None:
        for link in opened:
            link.break_off(f"connection lost: {info.reason}")

    async with _pool(address) as pool:
        client = await _leader(pool, stream, on_closed)
        link = Link(client, confirmed, patience_seconds)
        opened.append(link)
        name = str(PUBLISHER_ID)
        client.add_handler(schema.PublishConfirm, link.on_confirm, name)
        client.add_handler(schema.PublishError, link.on_error, name)
        client.add_handler(schema.MetadataUpdate, link.on_metadata_update, name)
        yield link


async def find_partitions(address: StreamAddress, stream: str) -> list[str]:
    """The partitions of a super stream, or the stream itself. Raises `LinkLost` when there is no such stream."""
    async with _pool(address) as pool, asyncio.timeout(OPEN_SECONDS):
        client = await pool.get(CONNECTION_NAME)
        partitions = await client.partitions(stream)
        if not partitions and not await client.stream_exists(stream):
            raise LinkLost(f"there is no stream {stream}")
        return sorted(partitions) or [stream]


async def _leader(pool: ClientPool, stream: str, on_closed: Callable[[OnClosedErrorInfo], None]) -> Client:
    """A client of the broker that leads the stream, with a publisher declared on it."""
    async with asyncio.timeout(OPEN_SECONDS):
        locator = await pool.get(CONNECTION_NAME)
        leader, _ = await locator.query_leader_and_replicas(stream)
        client = await pool.get(CONNECTION_NAME, Addr(leader.host, leader.port), on_closed, stream)
        await client.declare_publisher(stream, None, PUBLISHER_ID)
        return client


@asynccontextmanager
async def _pool(address: StreamAddress) -> AsyncIterator[ClientPool]:
    pool = ClientPool(
        address.host,
        address.port,
        ssl_context=address.tls,
        vhost=address.vhost,
        username=address.user,
        password=address.password,
        frame_max=FRAME_BYTES_MAX,
        heartbeat=HEARTBEAT_SECONDS,
        load_balancer_mode=address.load_balanced,
        max_retries=20,
    )
    try:
        yield pool
    finally:
        await _close(pool)


async def _close(pool: ClientPool) -> None:
    connections = [client._conn for clients in pool._clients.values() for client in clients]  # noqa: SLF001
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    # rstream leaves the socket of a broken connection to the garbage collector.
    for connection in connections:
        if connection is not None:
            _abort(connection)


def _abort(connection: Any) -> None:
    writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001
    if writer is not None:
        writer.transport.abort()
