"""The reader against a real broker: order, proof, bounds, and failures that show."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import chain

import pytest
import rstream.connection
import rstream.schema
from rstream import AMQPMessage, CompressionType, Producer, Properties

from analytics_ingest import stream_client, stream_reader
from analytics_ingest.chunks import Chunk, read_bodies
from analytics_ingest.limits import READER_CREDIT
from analytics_ingest.stream_client import Broker, ReaderFailed, StreamSpec, connect
from analytics_ingest.stream_reader import END_SUBSCRIPTION_ID, SUBSCRIPTION_ID, StreamReader, ends_of, open_reader
from tests.integration.ingest.streaming import publish, publish_messages
from tests.support.fault_proxy import FaultProxy
from tests.support.lost_deliveries import LostDeliveries
from tests.support.stack import RabbitMq

RETENTION = {"max-age": "3600s", "max-length-bytes": "100000000", "stream-max-segment-size-bytes": "500000"}


@pytest.fixture
def broker(rabbitmq: RabbitMq) -> Broker:
    return Broker.from_url(rabbitmq.stream_url)


@pytest.fixture
def spec(request: pytest.FixtureRequest) -> StreamSpec:
    """A stream of the test's own, which does not exist yet."""
    return StreamSpec(request.node.name.replace("[", "-").replace("]", ""), 1, RETENTION)


async def read(reader: StreamReader, count: int) -> list[bytes]:
    """The next bodies."""
    bodies: list[bytes] = []
    while len(bodies) < count:
        chunk = await reader.next_chunk(10)
        assert chunk is not None, f"{len(bodies)} of {count} messages came"
        bodies += [body for body in chain.from_iterable(read_bodies(chunk, [])) if isinstance(body, bytes)]
    return bodies


async def next_failure(reader: StreamReader) -> str:
    """Why the reader ends."""
    async with asyncio.timeout(20):
        while True:
            try:
                await reader.next_chunk(0.2)
            except ReaderFailed as failure:
                return failure.reason


async def test_messages_come_in_order_with_their_offsets(rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec) -> None:
    """Chunks follow each other without a hole."""
    sent = [b"%d" % number for number in range(3000)]
    await publish(rabbitmq, sent, spec.name)
    chunks: list[Chunk] = []
    async with open_reader(broker, "test", spec, 0, 0) as reader:
        while sum(chunk.records for chunk in chunks) < len(sent):
            chunk = await reader.next_chunk(10)
            assert chunk is not None
            chunks.append(chunk)

    assert [body for chunk in chunks for body in chain.from_iterable(read_bodies(chunk, []))] == sent
    assert [chunk.first_offset for chunk in chunks] == [0, *(chunk.end_offset for chunk in chunks[:-1])]


async def test_properties_and_compressed_batches_do_not_hide_the_body(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec
) -> None:
    """What other clients send: annotations, properties, gzip batches."""
    decorated = AMQPMessage(
        body=b"decorated", properties=Properties(message_id="7"), application_properties={"traceparent": "00-1"}
    )
    await publish_messages(rabbitmq, [decorated], spec.name)
    packed = [AMQPMessage(body=b"packed %d" % number) for number in range(20)]
    async with Producer(
        rabbitmq.host, rabbitmq.stream_port, username=rabbitmq.user, password=rabbitmq.password, vhost=rabbitmq.vhost
    ) as producer:
        for compression in (CompressionType.Gzip, CompressionType.No):
            await producer.send_sub_entry(spec.name, packed, compression_type=compression)
        await asyncio.sleep(1)

    async with open_reader(broker, "test", spec, 0, 0) as reader:
        bodies = await read(reader, 41)

    assert bodies == [b"decorated", *(b"packed %d" % number for number in range(20)), *bodies[21:]]
    assert bodies[1:21] == bodies[21:]


async def test_the_stream_is_declared_with_the_configured_retention(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec
) -> None:
    """Whoever starts first makes the stream; without a limit it would fill the broker's disk."""
    async with open_reader(broker, "test", spec, 0, 0):
        arguments = rabbitmq.management("GET", f"/queues/{rabbitmq.vhost}/{spec.name}").json()["arguments"]
    async with open_reader(broker, "test", spec, 0, 0) as again:
        assert await again.is_caught_up()

    assert arguments["x-max-age"] == "3600s"
    assert arguments["x-max-length-bytes"] == 100_000_000
    assert arguments["x-stream-max-segment-size-bytes"] == 500_000


async def test_a_super_stream_is_declared_with_its_partitions(rabbitmq: RabbitMq, broker: Broker) -> None:
    """Producers find the partitions through the super stream, so that they must be bound to it."""
    spec = StreamSpec("super", 3, RETENTION)
    async with open_reader(broker, "test", spec, 2, 0), connect(broker, "test") as client:
        assert await client.partitions("super") == ["super-0", "super-1", "super-2"]


async def test_more_partitions_than_the_super_stream_has_is_said(rabbitmq: RabbitMq, broker: Broker) -> None:
    """A stream made beside the super stream would never get a message."""
    async with open_reader(broker, "test", StreamSpec("grown", 2, RETENTION), 0, 0):
        pass

    with pytest.raises(ReaderFailed, match="grown exists without grown-2: add the partition"):
        async with open_reader(broker, "test", StreamSpec("grown", 3, RETENTION), 2, 0):
            pass


async def test_the_attach_offset_brings_the_chunk_that_holds_it(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec
) -> None:
    """Continuity leans on it: the last committed message comes again, before the round trip's answer."""
    await publish(rabbitmq, [b"x"] * 100, spec.name)
    async with open_reader(broker, "test", spec, 0, 99) as reader:
        assert await reader.is_caught_up() is False
        chunk = await reader.next_chunk(1)
        assert chunk is not None
        assert chunk.first_offset <= 99 < chunk.end_offset


async def test_an_offset_behind_the_end_brings_nothing(rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec) -> None:
    """The broker says nothing about it, so that the silence itself has to be the sign."""
    await publish(rabbitmq, [b"x"] * 100, spec.name)
    async with open_reader(broker, "test", spec, 0, 5000) as reader:
        assert await reader.next_chunk(0.5) is None
        assert await reader.is_caught_up()


async def test_being_caught_up_is_proven_only_when_everything_was_taken(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec
) -> None:
    """Freshness is built on it: a message that was accepted before the question must not be missed."""
    async with open_reader(broker, "test", spec, 0, 0) as reader:
        for number in range(20):
            await publish(rabbitmq, [b"%d" % number], spec.name)
            assert await reader.is_caught_up() is False
            assert await read(reader, 1) == [b"%d" % number]
            assert await reader.is_caught_up()


async def test_the_ends_of_a_partition_are_found_beside_reading_it(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec
) -> None:
    """The lag in messages, and what an operator's reset needs; the question must not cost the reader a chunk."""
    with pytest.raises(ReaderFailed, match="does not exist"):
        await ends_of(broker, "test", spec, 0)
    async with open_reader(broker, "test", spec, 0, 0) as reader:
        assert await ends_of(broker, "test", spec, 0) == (0, 0)
        assert await reader.end_offset() is None
        for number in range(3):
            await publish(rabbitmq, [b"%d" % number] * 10, spec.name)
            assert await reader.end_offset() == 10 * (number + 1)
        assert len(await read(reader, 30)) == 30
        assert await reader.is_caught_up()
    assert await ends_of(broker, "test", spec, 0) == (0, 30)


async def test_what_the_broker_notes_for_itself_is_no_message_that_it_owes(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec
) -> None:
    """A consumer's stored offset lies behind the last message; a reader waiting for it would be rebuilt for ever."""
    await publish(rabbitmq, [b"x"] * 10, spec.name)
    async with open_reader(broker, "test", spec, 0, 0) as reader, connect(broker, "other") as other:
        await read(reader, 10)
        await other.store_offset(spec.name, "other", 5)
        assert await other.query_offset(spec.name, "other") == 5
        assert await reader.end_offset() == 10
        assert not reader.is_owed
        await publish(rabbitmq, [b"y"], spec.name)
        assert await read(reader, 1) == [b"y"]
        assert (await reader.end_offset() or 0) >= 11
        assert await reader.is_caught_up()


@pytest.mark.parametrize("lost", [(SUBSCRIPTION_ID,), (SUBSCRIPTION_ID, END_SUBSCRIPTION_ID)], ids=["one", "all"])
async def test_a_subscription_that_is_dead_proves_nothing(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec, monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]
) -> None:
    """The connection answers and brings no chunk, to the reader or to anybody: freshness must not move on with that."""
    deliveries = LostDeliveries()
    async with FaultProxy.open(broker.host, broker.port) as proxy:
        proxy.new_answer_filter = deliveries.new_filter
        async with open_reader(replace(broker, port=proxy.port), "test", spec, 0, 0) as reader:
            await publish(rabbitmq, [b"x"], spec.name)
            assert await read(reader, 1) == [b"x"]
            assert await reader.end_offset() == 1
            assert await reader.is_caught_up()

            deliveries.lose(*lost)
            monkeypatch.setattr(stream_reader, "LAST_CHUNK_MAX", timedelta(seconds=0.5 if len(lost) > 1 else 10))
            await publish(rabbitmq, [b"y"], spec.name)
            assert await reader.end_offset() == (2 if len(lost) == 1 else None)
            assert await reader.next_chunk(0.1) is None
            assert reader.is_owed
            assert await reader.is_caught_up() is False
    assert deliveries.lost >= len(lost)


async def test_memory_does_not_follow_the_backlog(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody takes chunks, the broker gets no credit for more."""
    monkeypatch.setattr(stream_reader, "READER_BUFFER_BYTES_MAX", 50_000)
    sent = [b"%06d" % number + b"x" * 1000 for number in range(15_000)]
    await publish(rabbitmq, sent, spec.name)
    async with open_reader(broker, "test", spec, 0, 0) as reader:
        await asyncio.sleep(1)
        held = sum(len(chunk.data) for chunk in reader._chunks)
        largest = max(len(chunk.data) for chunk in reader._chunks)
        waiting = await reader.is_caught_up()
        bodies = await read(reader, len(sent))

    assert held <= 50_000 + (READER_CREDIT + 1) * largest
    assert held < sum(map(len, sent)) / 2
    assert waiting is False
    assert bodies == sent


async def test_a_connection_closed_by_the_broker_ends_the_reader(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec
) -> None:
    """It must be noticed at once, not by the next heartbeat."""
    async with open_reader(broker, "to-be-closed", spec, 0, 0) as reader:
        closing = asyncio.create_task(asyncio.to_thread(close_connection, rabbitmq, "to-be-closed"))
        assert await next_failure(reader) == "connection_closed"
        await closing


def close_connection(rabbitmq: RabbitMq, name: str) -> None:
    while True:
        for connection in rabbitmq.management("GET", f"/vhosts/{rabbitmq.vhost}/connections").json():
            if connection.get("client_properties", {}).get("connection_name") == name:
                rabbitmq.management("DELETE", f"/connections/{connection['name']}")
                return


async def test_a_deleted_stream_ends_the_reader(rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec) -> None:
    """The broker tells; the next reader declares it anew and continuity finds out what happened."""
    async with open_reader(broker, "test", spec, 0, 0) as reader:
        await asyncio.to_thread(rabbitmq.management, "DELETE", f"/queues/{rabbitmq.vhost}/{spec.name}")
        assert await next_failure(reader) in {"stream_unavailable", "connection_closed"}


async def test_a_frame_that_rstream_cannot_read_ends_the_reader(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rstream's listener dies of a wrong checksum without telling anybody; the unanswered question tells."""

    def refuse(_: rstream.schema.Deliver) -> None:
        raise ValueError("Invalid checksum")

    monkeypatch.setattr(stream_client, "BROKER_ANSWER_MAX", timedelta(seconds=0.5))
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    async with open_reader(broker, "test", spec, 0, 0) as reader:
        monkeypatch.setattr(rstream.schema.Deliver, "__post_init__", refuse)
        await publish(rabbitmq, [b"x"], spec.name)
        assert await reader.next_chunk(1) is None
        with pytest.raises(ReaderFailed, match="no_answer"):
            await reader.is_caught_up()
    asyncio.get_running_loop().set_exception_handler(None)


async def test_an_error_while_taking_a_chunk_ends_the_reader(
    rabbitmq: RabbitMq, broker: Broker, spec: StreamSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rstream would log it and go on with the next chunk: the messages of this one would be lost."""
    monkeypatch.setattr(stream_reader, "Chunk", None)
    await publish(rabbitmq, [b"x"], spec.name)
    async with open_reader(broker, "test", spec, 0, 0) as reader:
        assert await next_failure(reader) == "delivery_failed"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"port": 1}, "not_connected: 127.0.0.1:1"),
        ({"password": "wrong"}, "AuthenticationFailure"),
        ({"vhost": "nowhere"}, "VirtualHostAccessFailure"),
    ],
)
async def test_a_broker_that_cannot_be_used_is_named(
    broker: Broker, spec: StreamSpec, change: dict[str, object], problem: str
) -> None:
    """The log line tells an operator where to look, and no password."""
    wrong = Broker(**{name: getattr(broker, name) for name in Broker.__slots__} | change)

    with pytest.raises(ReaderFailed, match=problem) as failed:
        async with open_reader(wrong, "test", spec, 0, 0):
            pass

    assert broker.password not in str(failed.value)


async def test_closed_readers_leave_no_task_and_no_connection(broker: Broker, spec: StreamSpec) -> None:
    """A partition is attached anew for years."""
    before = asyncio.all_tasks()
    for _ in range(3):
        async with open_reader(broker, "left-behind", spec, 0, 0):
            pass

    assert asyncio.all_tasks() == before


def test_the_patched_constant_of_rstream_still_exists() -> None:
    """Without it reading works, six times slower: an upgrade that renames it must be noticed."""
    assert rstream.connection.CHUNK_SIZE == stream_client.READ_BYTES
