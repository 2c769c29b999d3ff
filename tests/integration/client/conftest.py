"""Streams of a test's own, and a way to break the connection to them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.support.fault_proxy import FaultProxy
from tests.support.stack import RabbitMq
from tests.support.streams import Stream

MakeStream = Callable[..., Awaitable[Stream]]


@pytest.fixture
def make_stream(rabbitmq: RabbitMq) -> MakeStream:
    """Declares a fresh stream, or a super stream with `partitions`."""

    async def make(partitions: int = 0) -> Stream:
        name = f"usage-{uuid4().hex[:8]}"
        return await Stream(rabbitmq, name, tuple(f"{name}-{number}" for number in range(partitions))).create()

    return make


@pytest_asyncio.fixture
async def proxy(rabbitmq: RabbitMq) -> AsyncIterator[FaultProxy]:
    """In front of the broker's stream port."""
    async with FaultProxy.open(rabbitmq.host, rabbitmq.stream_port) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(rabbitmq: RabbitMq, proxy: FaultProxy) -> str:
    """The stream URL through the proxy; publishers need `load_balanced=True` to stay on it."""
    return rabbitmq.stream_url.replace(f":{rabbitmq.stream_port}/", f":{proxy.port}/")
