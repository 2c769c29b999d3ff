"""One connection to a RabbitMQ stream node: open, look up, declare, ask, and let go of for certain.

rstream's `Consumer` is not used: it hands out messages one by one without saying where a chunk ends, grants credit
before they are taken, skips messages after an error in a callback and gives up recovering after ten tries. Its
`Client` is the plain protocol. What we lean on beyond its documented API is pinned by tests/integration/ingest.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from urllib.parse import unquote, urlsplit

import rstream.connection
import structlog
from rstream import exceptions, schema
from rstream.client import Client
from rstream.utils import OnClosedErrorInfo

from analytics_ingest.limits import BROKER_ANSWER_MAX, READER_OPEN_MAX

log = structlog.get_logger()

# rstream reads the socket in pieces of 256 bytes: 1.4 ms for a frame of 418 kB, 0.2 ms with these.
READ_BYTES = 65_536
TESTED_RSTREAM = "1.1.1"
if version("rstream") == TESTED_RSTREAM:
    rstream.connection.CHUNK_SIZE = READ_BYTES

FRAME_BYTES_MAX = 1024 * 1024
HEARTBEAT_SECONDS = 10
DEFAULT_PORT = 5552
DEFAULT_TLS_PORT = 5551
# Once asked, a broken connection may take this long to be let go of.
DISPOSE_SECONDS = 5


class ReaderFailed(Exception):
    """The connection or subscription is of no use any more; `reason` is a label, for metrics."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the stream broker is, and who we are there."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    vhost: str
    tls: bool = False

    @classmethod
    def from_url(cls, url: str) -> "Broker":
        """From `rabbitmq-stream://user:password@host:port/vhost`; without a path the vhost is `/`."""
        parts = urlsplit(url)
        tls = parts.scheme.endswith("+tls")
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or (DEFAULT_TLS_PORT if tls else DEFAULT_PORT),
            username=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            vhost=unquote(parts.path.removeprefix("/")) or "/",
            tls=tls,
        )


class StreamClient(Client):
    """rstream's protocol client, with an end that always comes."""

    def __init__(self, broker: Broker, name: str) -> None:
        super().__init__(
            broker.host,
            broker.port,
            ssl_context=ssl.create_default_context() if broker.tls else None,
            frame_max=FRAME_BYTES_MAX,
            heartbeat=HEARTBEAT_SECONDS,
            connection_name=name,
            connection_closed_handler=self._note_closed,
        )
        self.on_closed: Callable[[], None] = lambda: None
        """Called once the other side has closed the connection."""
        # rstream calls its handler only for a client that serves a stream.
        self.add_stream(name)

    def _note_closed(self, _: OnClosedErrorInfo) -> None:
        self.on_closed()

    async def nodes_of(self, stream: str) -> set[tuple[str, int]]:
        """Advertised addresses of the running nodes that hold the stream. Raises `StreamDoesNotExist`.

        rstream's own look-up raises `KeyError` while one of the replicas is down.
        """
        request = schema.Metadata(self._corr_id_seq.next(), streams=[stream])
        answer = await self.sync_request(request, resp_schema=schema.MetadataResponse)
        metadata = answer.metadata[0]
        holders = {metadata.leader_ref, *metadata.replicas_refs}
        return {(broker.host, broker.port) for broker in answer.brokers if broker.reference in holders}

    @property
    def advertised_address(self) -> tuple[str, int] | None:
        """How this node calls itself, once logged in."""
        properties = self.server_properties or {}
        try:
            return properties["advertised_host"], int(properties["advertised_port"])
        except KeyError:
            return None

    def has_frames_waiting(self, subscription_id: int) -> bool:
        """Whether a delivered chunk has not reached its handler yet."""
        return not self._frames[subscription_id].empty()

    async def answers(self, stream: str) -> bool:
        """A round trip on this connection; whether the stream exists. Raises `ReaderFailed` without an answer."""
        try:
            async with asyncio.timeout(BROKER_ANSWER_MAX.total_seconds()):
                return await self.stream_exists(stream)
        except (TimeoutError, OSError) as error:
            raise ReaderFailed("no_answer", f"{self.host}:{self.port} does not answer") from error

    async def dispose(self) -> None:
        """Close the connection, or let go of it: ends its tasks and its socket whatever state they are in."""
        tasks, connection = list(self._tasks.values()), self._conn
        try:
            async with asyncio.timeout(DISPOSE_SECONDS):
                await self.close()
        except Exception as error:  # noqa: BLE001 — rstream's close re-raises what ended its tasks
            log.debug("stream_connection_not_closed_cleanly", error=repr(error))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if connection is not None:
            with suppress(Exception):
                await asyncio.wait_for(connection.close(), DISPOSE_SECONDS)


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """The stream of usage events, and how to make it where it does not exist."""

    name: str
    partitions: int
    retention: Mapping[str, str]

    def partition_name(self, partition: int) -> str:
        """The stream itself, or that partition of the super stream."""
        return self.name if self.partitions == 1 else f"{self.name}-{partition}"


@asynccontextmanager
async def connect(broker: Broker, name: str) -> AsyncIterator[StreamClient]:
    """A connection for the length of the block. Raises `ReaderFailed`."""
    client = await _open(broker, name)
    try:
        yield client
    finally:
        await asyncio.shield(client.dispose())


@asynccontextmanager
async def connect_to_partition(
    broker: Broker, name: str, spec: StreamSpec, partition: int, *, declare: bool = True
) -> AsyncIterator[StreamClient]:
    """A connection to a node that holds the partition; a missing stream is declared. Raises `ReaderFailed`."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(broker, name))
        nodes = await _nodes_of(client, spec, partition, declare=declare)
        if nodes and client.advertised_address not in nodes:
            host, port = random.choice(sorted(nodes))  # noqa: S311 — spreads the load
            await stack.aclose()
            client = await stack.enter_async_context(connect(replace(broker, host=host, port=port), name))
        yield client


async def _open(broker: Broker, name: str) -> StreamClient:
    client = StreamClient(broker, name)
    try:
        async with asyncio.timeout(READER_OPEN_MAX.total_seconds()):
            await client.start()
            await client.authenticate(vhost=broker.vhost, username=broker.username, password=broker.password)
    except BaseException as error:
        await asyncio.shield(client.dispose())
        if isinstance(error, Exception):
            raise ReaderFailed("not_connected", f"{broker.host}:{broker.port}: {error!r}") from error
        raise
    return client


async def _nodes_of(client: StreamClient, spec: StreamSpec, partition: int, *, declare: bool) -> set[tuple[str, int]]:
    try:
        try:
            return await client.nodes_of(spec.partition_name(partition))
        except exceptions.StreamDoesNotExist:
            if not declare:
                raise
            await _declare(client, spec)
            return await client.nodes_of(spec.partition_name(partition))
    except exceptions.StreamDoesNotExist as error:
        # A super stream with fewer partitions than configured: making one beside it would hide it from producers.
        detail = f"{spec.name} exists without {spec.partition_name(partition)}: add the partition at the broker"
        if not declare:
            detail = f"{spec.partition_name(partition)} does not exist"
        raise ReaderFailed("partition_missing", detail) from error
    except (exceptions.ServerError, TimeoutError) as error:
        raise ReaderFailed("stream_not_available", f"{spec.partition_name(partition)}: {error!r}") from error


async def _declare(client: StreamClient, spec: StreamSpec) -> None:
    """Make the stream, or the super stream, unless it exists; an existing one keeps its own retention."""
    retention = dict(spec.retention)
    try:
        if spec.partitions == 1:
            await client.create_stream(spec.name, retention)
        else:
            numbers = range(spec.partitions)
            names = [spec.partition_name(number) for number in numbers]
            await client.create_super_stream(spec.name, names, [str(number) for number in numbers], retention)
    except (exceptions.StreamAlreadyExists, exceptions.PreconditionFailed):
        return
    log.info("stream_declared", stream=spec.name, partitions=spec.partitions, **retention)
