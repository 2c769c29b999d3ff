"""Makes sure that the stream is there, with the retention that the contract states."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from rstream.client import Client
from rstream.exceptions import ClientError, ServerError, StreamAlreadyExists

from analytics_client.address import StreamAddress, parse_address

ASYNCAPI = Path(__file__).parents[2] / "contracts/messages/asyncapi.yaml"
PATIENCE_S = 15.0
# A broker that is away, restarting or unwilling makes rstream raise one of these (it asserts that it is connected).
FAILURES = (OSError, TimeoutError, AssertionError, ClientError, ServerError)


class StreamUnavailable(Exception):
    """The broker cannot be reached, refuses the login, or cannot create the stream."""


async def ensure_stream(url: str, stream: str, partitions: int = 1) -> list[str]:
    """The stream's partitions, or itself alone; created where it is missing, as a super stream if `partitions` > 1.

    An existing stream is left as it is. Raises `StreamUnavailable`, and ValueError for a wrong URL.
    """
    address = parse_address(url)
    try:
        async with asyncio.timeout(PATIENCE_S), _connected(address) as client:
            return await _ensure(client, stream, partitions)
    except FAILURES as error:
        raise StreamUnavailable(f"{address}, stream {stream}: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def _connected(address: StreamAddress) -> AsyncIterator[Client]:
    client = Client(
        address.host,
        address.port,
        ssl_context=address.tls,
        frame_max=1 << 20,
        heartbeat=20,
        connection_name="analytics-replay",
        # Without a handler rstream prints a traceback when the broker hangs up.
        connection_closed_handler=lambda _: None,
    )
    try:
        await client.start()
        await client.authenticate(address.vhost, address.user, address.password)
        yield client
    finally:
        writer = getattr(client._conn, "_writer", None)  # noqa: SLF001
        # As a task of its own, because rstream's close swallows a cancellation that was meant for the caller.
        await asyncio.wait({asyncio.create_task(_closed(client))})
        # rstream leaves the socket of a broken connection to the garbage collector.
        if writer is not None:
            writer.transport.abort()


async def _closed(client: Client) -> None:
    with suppress(*FAILURES):
        await client.close()


def stream_arguments() -> dict[str, Any]:
    """Retention and segment size of a new stream, as the contract states them."""
    contract = yaml.safe_load(ASYNCAPI.read_text(encoding="utf-8"))
    arguments: dict[str, Any] = contract["channels"]["usageEvents"]["x-stream-arguments"]
    # The stream protocol names them without the prefix that AMQP 0-9-1 needs.
    return {name.removeprefix("x-"): value for name, value in arguments.items()}


async def _ensure(client: Client, stream: str, partitions: int) -> list[str]:
    if existing := await client.partitions(stream):
        return sorted(existing)
    if await client.stream_exists(stream):
        return [stream]
    names = [f"{stream}-{number}" for number in range(partitions)] if partitions > 1 else [stream]
    # Somebody else may create it at the same moment.
    with suppress(StreamAlreadyExists):
        if partitions == 1:
            await client.create_stream(stream, stream_arguments())
        else:
            keys = [str(number) for number in range(partitions)]
            await client.create_super_stream(stream, names, keys, stream_arguments())
    return names
