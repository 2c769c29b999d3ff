"""Publishing to one stream (a partition, or a stream that has none) over one connection to its leader.

rstream reports too little to rely on: a frame on a dead connection is dropped in silence, a listener that dies takes
the confirms with it, a missing heartbeat is only logged. So every event is kept here until its own confirm comes, and
one that waits longer than the patience breaks the link, whatever the connection looks like. Once lost, a link stays
lost: the caller opens another one and sends what is in `unconfirmed` again.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from rstream import schema
from rstream.exceptions import ServerError

from analytics_client.address import StreamAddress
from analytics_client.buffer import Pending
from analytics_client.connection import Connection, LinkLost, open_connection
from analytics_client.encoding import data_section, traced

# The broker stops reading from a connection with 50,000 unconfirmed messages (`stream.initial_credits`).
UNCONFIRMED_MAX = 20_000
PUBLISHER_ID = 1
# Behind a load balancer each try reaches some broker of the cluster; only the leader takes events.
BALANCED_TRIES_MAX = 20


class Link:
    """An open link; see `open_link`."""

    def __init__(self, connection: Connection, confirmed: Callable[[Pending], None], patience_seconds: float) -> None:
        self.unconfirmed: dict[int, Pending] = {}
        self.has_confirmed = False
        self._connection = connection
        self._confirmed = confirmed
        self._patience = patience_seconds
        self._ids = itertools.count(1)
        self._moved = asyncio.Event()

    def register(self, batch: list[Pending]) -> list[schema.Message]:
        """Number events for `send`; they are in `unconfirmed` from now on."""
        now = asyncio.get_running_loop().time()
        messages = []
        for pending in batch:
            publishing_id = next(self._ids)
            pending.sent_at = now
            self.unconfirmed[publishing_id] = pending
            data = data_section(pending.body)
            if pending.traceparent is not None:
                data = traced(data, pending.traceparent)
            messages.append(schema.Message(publishing_id, filter_value=None, data=data))
        return messages

    async def send(self, messages: list[schema.Message]) -> None:
        """Send events; returns before they are confirmed."""
        if messages:
            await self._connection.client.send_publish_frame(schema.Publish(PUBLISHER_ID, messages))

    async def wait_for_window(self) -> None:
        """Return when the broker has confirmed enough to be sent more."""
        while len(self.unconfirmed) >= UNCONFIRMED_MAX:
            self._moved.clear()
            await self._moved.wait()

    async def watch(self) -> None:
        """Never returns: raises `LinkLost` when the connection ends or a confirm is overdue."""
        connection = self._connection
        while not connection.lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience / 8):
                    await connection.lost.wait()
            oldest = next(iter(self.unconfirmed.values()), None)
            if oldest is not None and asyncio.get_running_loop().time() - oldest.sent_at > self._patience:
                connection.break_off(f"no confirm within {self._patience:g} s")
        raise LinkLost(connection.problem)

    async def declare(self, stream: str) -> None:
        """Become a publisher of the stream; raises what the broker answers instead."""
        client, name = self._connection.client, str(PUBLISHER_ID)
        client.add_handler(schema.PublishConfirm, self._on_confirm, name)
        client.add_handler(schema.PublishError, self._on_error, name)
        client.add_handler(schema.MetadataUpdate, self._on_metadata_update, name)
        await self._connection.answer(client.declare_publisher(stream, None, PUBLISHER_ID))

    def _on_confirm(self, frame: schema.PublishConfirm) -> None:
        for publishing_id in frame.publishing_ids:
            pending = self.unconfirmed.pop(publishing_id, None)
            if pending is not None:
                self._confirmed(pending)
        self.has_confirmed = True
        self._moved.set()

    def _on_error(self, frame: schema.PublishError) -> None:
        code = frame.errors[0].response_code if frame.errors else 0
        reason = ServerError.from_code(code).__name__
        self._connection.break_off(f"the broker does not store events: {reason} ({code})")

    def _on_metadata_update(self, _: schema.MetadataUpdate) -> None:
        self._connection.break_off("the stream was deleted, or another broker leads it now")


@asynccontextmanager
async def open_link(
    address: StreamAddress, stream: str, confirmed: Callable[[Pending], None], patience_seconds: float
) -> AsyncIterator[Link]:
    """Connect to the stream's leader and be ready to send; `confirmed` is called once for each confirmed event.

    Raises `LinkLost`, `OSError`, and what rstream makes of a refusal.
    """
    async with _leader(address, stream) as connection:
        link = Link(connection, confirmed, patience_seconds)
        await link.declare(stream)
        yield link


async def find_partitions(address: StreamAddress, stream: str) -> list[str]:
    """The partitions of a super stream, or the stream itself. Raises `LinkLost` when there is no such stream."""
    async with open_connection(address, address.host, address.port, stream) as connection:
        partitions = await connection.answer(connection.client.partitions(stream))
        if not partitions and not await connection.answer(connection.client.stream_exists(stream)):
            raise LinkLost(f"there is no stream {stream}")
        return sorted(partitions) or [stream]


@asynccontextmanager
async def _leader(address: StreamAddress, stream: str) -> AsyncIterator[Connection]:
    """A connection to the broker that leads the stream: the first one if it does, else another one."""
    async with open_connection(address, address.host, address.port, stream) as connection:
        leader = await _leader_address(connection, stream)
        if _reached(address, connection) == leader:
            yield connection
            return
    host, port = (address.host, address.port) if address.load_balanced else leader
    for _ in range(BALANCED_TRIES_MAX):
        async with open_connection(address, host, port, stream) as connection:
            if _reached(address, connection) == leader:
                yield connection
                return
    raise LinkLost(f"{host}:{port} did not lead to {leader} in {BALANCED_TRIES_MAX} tries")


async def _leader_address(connection: Connection, stream: str) -> tuple[str, int]:
    """How the leader's broker is reached; rstream's own look-up raises `KeyError` while any replica is down."""
    request = schema.Metadata(connection.client._corr_id_seq.next(), streams=[stream])  # noqa: SLF001
    found = await connection.answer(connection.client.sync_request(request, schema.MetadataResponse))
    for broker in found.brokers:
        if broker.reference == found.metadata[0].leader_ref:
            return broker.host, broker.port
    raise LinkLost(f"{stream} has no leader at the moment")


def _reached(address: StreamAddress, connection: Connection) -> tuple[str, int]:
    """The broker at the other end; a load balancer hides it, so there it is asked for its own name."""
    if not address.load_balanced:
        return connection.client.host, connection.client.port
    properties = connection.client.server_properties or {}
    return properties.get("advertised_host", ""), int(properties.get("advertised_port", "0"))
