"""The publisher on a real broker that behaves."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from analytics_client import BlockingUsagePublisher, NotConfirmed, PublisherClosed, UsageEvent, UsagePublisher
from analytics_core.testing.builders import event_body
from tests.integration.client.conftest import MakeStream
from tests.support.stack import RabbitMq
from tests.support.streams import Stream, stream_client


async def test_every_event_is_on_the_stream_as_it_was_given(rabbitmq: RabbitMq, make_stream: MakeStream) -> None:
    """Short and long bodies are framed differently; 3,000 events make more than one batch."""
    stream = await make_stream()
    bodies = [event_body(modelId="m" * (1 + number % 200)) for number in range(3_000)]

    async with UsagePublisher(rabbitmq.stream_url, stream=stream.name) as publisher:
        await publisher.publish_many(bodies)
        await publisher.flush(10)

        assert publisher.buffered == 0
    assert await stream.bodies(3_000) == bodies


async def test_leaving_the_block_flushes(rabbitmq: RabbitMq, make_stream: MakeStream) -> None:
    """A script that only publishes must not need to know about flushing."""
    stream = await make_stream()
    event = UsageEvent(
        org_id=uuid4(),
        model_id="gpt-4o",
        occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
        status="success",
        latency_ms=1,
        input_tokens=2,
        output_tokens=3,
        cost_estimate_cents="0.000001",
    )

    async with UsagePublisher(rabbitmq.stream_url, stream=stream.name) as publisher:
        await publisher.publish(event)

    [body] = await stream.bodies(1)
    assert str(event.event_id).encode() in body
    assert b'"costEstimateCents":"0.000001"' in body


async def test_all_partitions_of_a_super_stream_are_used(rabbitmq: RabbitMq, make_stream: MakeStream) -> None:
    """A super stream has no stream of its own name: a publisher that did not notice would wait for ever."""
    stream = await make_stream(partitions=3)
    partitions = [Stream(rabbitmq, name) for name in stream.partitions]
    bodies: list[bytes] = []

    async with UsagePublisher(rabbitmq.stream_url, stream=stream.name) as publisher, asyncio.timeout(60):
        used = 0
        while used < 3:  # the connections to the partitions open one by one
            bodies += [event_body() for _ in range(3_000)]
            await publisher.publish_many(bodies[-3_000:])
            used = sum([bool(await partition.bodies(0)) for partition in partitions])
        await publisher.flush()

    assert Counter(await stream.bodies(len(bodies))) == Counter(bodies)


async def test_a_confirmed_publish_is_on_the_stream_when_it_returns(
    rabbitmq: RabbitMq, make_stream: MakeStream
) -> None:
    """This is what an HTTP answer is built on."""
    stream = await make_stream()
    bodies = [event_body() for _ in range(10)]

    async with UsagePublisher(rabbitmq.stream_url, stream=stream.name) as publisher:
        await publisher.publish_confirmed(bodies, within_seconds=10)

        assert await stream.bodies(10) == bodies


async def test_events_wait_for_a_stream_that_is_declared_later(rabbitmq: RabbitMq) -> None:
    """Producers may start before the service that declares the stream."""
    stream = Stream(rabbitmq, f"usage-{uuid4().hex[:8]}")
    async with UsagePublisher(rabbitmq.stream_url, stream=stream.name) as publisher:
        await publisher.publish(event_body())
        with pytest.raises(NotConfirmed, match=f"there is no stream {stream.name}"):
            await publisher.flush(1)

        await stream.create()
        await publisher.flush(20)

    assert len(await stream.bodies(1)) == 1


async def test_a_stream_deleted_and_declared_anew_is_published_to(rabbitmq: RabbitMq, make_stream: MakeStream) -> None:
    """The broker refuses what is sent to the deleted one; those events belong on the new one."""
    stream = await make_stream()
    async with UsagePublisher(rabbitmq.stream_url, stream=stream.name) as publisher:
        await publisher.publish_confirmed([event_body()], 10)
        async with stream_client(rabbitmq) as client:
            await client.delete_stream(stream.name)
        bodies = [event_body() for _ in range(100)]
        await publisher.publish_many(bodies)
        await asyncio.sleep(0.1)
        await stream.create()
        await publisher.flush(30)

    assert set(await stream.bodies(100)) == set(bodies)


async def test_a_wrong_password_is_named_without_being_shown(rabbitmq: RabbitMq, make_stream: MakeStream) -> None:
    """The person who reads the error needs the reason; the log must not learn the password."""
    stream = await make_stream()
    url = rabbitmq.stream_url.replace(rabbitmq.password, "not-the-password")
    publisher = UsagePublisher(url, stream=stream.name, close_seconds=6)

    with pytest.raises(NotConfirmed, match="AuthenticationFailure") as error:
        async with publisher:
            await publisher.publish(event_body())

    assert "not-the-password" not in str(error.value)


async def test_a_closed_publisher_takes_nothing(rabbitmq: RabbitMq, make_stream: MakeStream) -> None:
    """An event that could never be sent must not look published."""
    stream = await make_stream()
    publisher = UsagePublisher(rabbitmq.stream_url, stream=stream.name)
    with pytest.raises(PublisherClosed):
        await publisher.publish(event_body())

    async with publisher:
        pass

    with pytest.raises(PublisherClosed):
        await publisher.publish(event_body())
    with pytest.raises(PublisherClosed):
        await publisher.publish_confirmed([event_body()], 1)


async def test_threads_share_a_blocking_publisher(rabbitmq: RabbitMq, make_stream: MakeStream) -> None:
    """A web server with threads has one publisher, not one connection for each thread."""
    stream = await make_stream()
    bodies = [event_body() for _ in range(400)]

    def publish_all() -> None:
        with BlockingUsagePublisher(rabbitmq.stream_url, stream=stream.name) as publisher:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(publisher.publish, bodies[:200]))
            publisher.publish_many(iter(bodies[200:]))
            publisher.flush(10)
            publisher.publish_confirmed([b'{"last":true}'], 10)
            assert publisher.buffered == 0
            assert publisher.problem is None
        with pytest.raises(PublisherClosed):
            publisher.publish(bodies[0])

    await asyncio.to_thread(publish_all)

    assert Counter(await stream.bodies(401)) == Counter([*bodies, b'{"last":true}'])
