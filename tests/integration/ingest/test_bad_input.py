"""Bad input all the way: through a real batch into the database, and a row that only the database refuses."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rstream import AMQPMessage, CompressionType, Producer

from analytics_core import clock
from analytics_core.database import WriteDatabase
from analytics_core.testing.builders import NOON, event_body, usage_event
from analytics_ingest.batch import Batch
from analytics_ingest.cloud_batches import cloud_events_in
from analytics_ingest.dead_letters import DeadLetterLimit
from analytics_ingest.leases import Lease, Leases
from analytics_ingest.writer import BatchWriter
from tests.integration.ingest.streaming import STREAM, IngestStage, Tables, publish, wait_for
from tests.support.processes import ServiceProcess
from tests.support.stack import RabbitMq
from tests.support.wild_bodies import cloud_event, snake_case, usage_record, wild_bodies

RETENTION = timedelta(days=400)
POSITION = "SELECT coalesce(max(next_offset), 0)::bigint FROM analytics.stream_offsets"
# Every example is a dozen transactions; tests/unit throws far more at the code before the database.
FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


class NoWakeups:
    def send(self, message: object) -> None:
        """Nobody listens."""


async def write(tables: Tables, bodies: Sequence[bytes]) -> None:
    """The bodies as one batch of the stream, by the code that writes all of them."""
    dsn = tables.database.dsn("analytics_ingest")
    async with WriteDatabase.open(dsn, application_name="wild", pool_size=2) as database:
        leases = Leases(database, STREAM, 1, "a", timedelta(seconds=30))
        await leases.acquire(0)
        lease = await leases.acquire(0)
        assert isinstance(lease, Lease)
        batch = Batch(RETENTION)
        assert batch.add(bodies, 0, NOON) == len(bodies)
        writer = BatchWriter(database, NoWakeups(), 1, clock.now)  # type: ignore[arg-type]
        await writer.write(lease, batch, DeadLetterLimit(1.0, 1_000_000))


def good(number: int) -> bytes:
    return event_body(eventId=str(UUID(int=number)))


def stored(tables: Tables) -> set[int]:
    return {row["event_id"].int for row in tables.rows("SELECT event_id FROM analytics.usage_events")}


@FEW
@given(wild=st.lists(wild_bodies(), min_size=20, max_size=40))
def test_no_neighbour_of_wild_input_is_lost(tables: Tables, wild: list[bytes]) -> None:
    """Whatever was accepted is stored, the rest is kept byte by byte, and the sums are right."""
    tables.empty()
    bodies = [each for number, body in enumerate(wild) for each in (good(10**9 + number), body)]
    asyncio.run(write(tables, bodies))

    totals = tables.totals()
    assert totals["received"] == totals["stored"] + totals["duplicates"] + totals["rejected"] >= len(bodies)
    assert {10**9 + number for number in range(len(wild))} <= stored(tables)
    letters = tables.rows("SELECT stream_offset, message_index, reason, body FROM analytics.dead_letters")
    assert len(letters) == totals["rejected"]
    assert "not_storable" not in {row["reason"] for row in letters}
    for row in letters:
        sent = bodies[row["stream_offset"]]
        assert bytes(row["body"]) in {sent, (cloud_events_in(sent) or [sent])[row["message_index"]]}
    assert tables.next_offset() == len(bodies)


@pytest.fixture
def picky(tables: Tables) -> Any:
    """A database that refuses what the decoder accepts."""
    tables.rows("ALTER TABLE analytics.usage_events ADD CONSTRAINT picky CHECK (model_id <> 'refused')")
    yield tables
    tables.rows("ALTER TABLE analytics.usage_events DROP CONSTRAINT picky")


def test_a_row_that_only_the_database_refuses_leaves_the_others(picky: Tables) -> None:
    """Found by halving, in whichever dialect or batch it came; it is a dead letter with its bytes."""
    refused = usage_event(modelId="refused")
    batch = [
        cloud_event(usage_event(eventId=str(UUID(int=90)))),
        cloud_event(refused),
        cloud_event(usage_record(refused)),
    ]
    bad = {17: refused, 333: snake_case(refused), 750: usage_record(refused), 751: batch, 999: refused | {"x": 1}}
    bodies = [json.dumps(bad[number]).encode() if number in bad else good(1000 + number) for number in range(1000)]
    asyncio.run(write(picky, bodies))

    assert picky.totals() == {"received": 1002, "stored": 996, "duplicates": 0, "conflicts": 0, "rejected": 6}
    letters = picky.rows("SELECT * FROM analytics.dead_letters ORDER BY stream_offset, message_index")
    assert [(row["stream_offset"], row["message_index"]) for row in letters] == [
        (17, 0), (333, 0), (750, 0), (751, 1), (751, 2), (999, 0),
    ]  # fmt: skip
    assert {row["reason"] for row in letters} == {"not_storable"}
    assert all("picky" in row["detail"] for row in letters)
    assert {str(row["org_id"]) for row in letters} == {refused["orgId"]}
    assert json.loads(bytes(letters[3]["body"])) == batch[1]
    assert {90} | {1000 + number for number in range(1000) if number not in bad} == stored(picky)


# What a message may be around its body, too: nothing of AMQP, a section that is cut off, a body of the wrong kind.
WILD_MESSAGES = (
    wild_bodies().map(lambda body: AMQPMessage(body=body))
    | st.binary(min_size=1, max_size=200)
    | st.binary(max_size=200).map(lambda rest: b"\x00\x53\x75\xb0" + rest)
    | st.binary(max_size=200).map(lambda rest: b"\x00\x80\xff\xff" + rest)
    | st.text(max_size=20).map(lambda text: AMQPMessage(body=b"{}", application_properties={"traceparent": text}))
)


@settings(FEW, max_examples=8)
@given(
    wild=st.lists(WILD_MESSAGES, min_size=20, max_size=40),
    packed=st.lists(wild_bodies(), min_size=1, max_size=5),
    number=st.integers(0, 2**64),
)
def test_anything_on_a_real_stream_leaves_its_neighbours_and_the_service_alone(
    wild_service: tuple[IngestStage, ServiceProcess], wild: list[Any], packed: list[bytes], number: int
) -> None:
    """Through broker, frames and compressed batches; the reader never has to begin anew."""
    stage, service = wild_service
    begin, now = stage.value(POSITION), clock.now().isoformat()
    ids = [UUID(int=number * 1_000 + index) for index in range(len(wild) + 1)]
    beside = [AMQPMessage(body=event_body(eventId=str(id_), occurredAt=now)) for id_ in ids]
    single = [message for two in zip(beside, wild, strict=False) for message in two]
    batch = [*(AMQPMessage(body=body) for body in packed), beside[-1]]
    asyncio.run(publish_wild(stage.rabbitmq, single, batch))
    end = begin + len(single) + len(batch)
    wait_for(lambda: stage.value(POSITION) >= end, f"offset {end} committed")

    assert stage.value(POSITION) == end
    assert {id_.int for id_ in ids} <= stored(stage)
    letters = stage.rows("SELECT reason FROM analytics.dead_letters")
    assert len(letters) == stage.totals()["rejected"]
    assert "not_storable" not in {row["reason"] for row in letters}
    assert service.exit_code is None
    assert "partition_interrupted" not in service.log()


@pytest.fixture
def wild_service(stage: IngestStage) -> tuple[IngestStage, ServiceProcess]:
    """However much of it is bad, ingest goes on."""
    asyncio.run(publish(stage.rabbitmq, []))
    return stage, stage.start(INGESTION_DEAD_LETTER_RATIO_MAX="1", INGESTION_DEAD_LETTER_RUN_MAX="1000000")


async def publish_wild(rabbitmq: RabbitMq, single: Sequence[Any], batch: Sequence[AMQPMessage]) -> None:
    """Each in a frame of its own, because some are large; then the batch, compressed."""
    async with Producer(
        rabbitmq.host, rabbitmq.stream_port, username=rabbitmq.user, password=rabbitmq.password, vhost=rabbitmq.vhost
    ) as producer:
        for message in single:
            await producer.send_batch(STREAM, [message])
        await producer.send_sub_entry(STREAM, list(batch), compression_type=CompressionType.Gzip)
