"""What ingest says of a stream is true: how far everything is committed, and that it reads on."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from rstream import AMQPMessage, schema

from analytics_core import clock
from analytics_core.database import WriteDatabase
from analytics_core.testing.builders import event_body
from analytics_ingest.batch import BatchSize
from analytics_ingest.continuity import Continuity
from analytics_ingest.intake import Intake
from analytics_ingest.leases import Lease, Leases
from analytics_ingest.partition import PartitionSettings, PartitionWorker
from analytics_ingest.stream_client import Broker, StreamSpec, connect_to_partition
from analytics_ingest.stream_reader import open_reader
from tests.integration.ingest.streaming import STREAM, IngestStage, publish

RETENTION = timedelta(days=400)
ARGUMENTS = {"max-age": "3600s"}


def good(number: int) -> bytes:
    return event_body(eventId=str(UUID(int=number)), occurredAt=clock.now().isoformat())


async def test_a_compressed_batch_without_messages_stops_nothing(stage: IngestStage) -> None:
    """The broker confirms it; the events before and behind it in its chunk are counted."""
    spec = StreamSpec(STREAM, 1, ARGUMENTS)
    events = [bytes(AMQPMessage(body=good(number))) for number in range(10)]
    messages = [schema.Message(number, filter_value=None, data=data) for number, data in enumerate(events)]
    async with connect_to_partition(Broker.from_url(stage.rabbitmq.stream_url), "test", spec, 0) as client:
        await client.declare_publisher(STREAM, None, 1)
        await client.send_publish_frame(schema.Publish(1, messages[:5]))
        await client.send_frame(schema.PublishSubBatching(1, 1, 10, 0x80, 0, 4, 4, b"junk"))
        await client.send_publish_frame(schema.Publish(1, messages[5:]))
    stage.start()

    assert (await asyncio.to_thread(stage.wait_until_received, 10))["stored"] == 10


async def test_a_proof_says_nothing_of_what_came_while_it_was_written_down(stage: IngestStage) -> None:
    """However long the database is busy: an event that was accepted after the question is not promised."""
    broker, spec = Broker.from_url(stage.rabbitmq.stream_url), StreamSpec(STREAM, 1, ARGUMENTS)
    dsn = stage.database.dsn("analytics_ingest")
    async with WriteDatabase.open(dsn, application_name="test", pool_size=1) as database:
        leases = Leases(database, STREAM, 1, "a", timedelta(seconds=12))
        await leases.acquire(0)
        lease = await leases.acquire(0)
        assert isinstance(lease, Lease)
        unused: Any = None
        size = BatchSize()
        worker = PartitionWorker(
            PartitionSettings(0, RETENTION, size, unused), leases, unused, unused, unused, clock.now
        )
        async with open_reader(broker, "test", spec, 0, 0) as reader:
            intake = Intake(reader, Continuity(0, None), 0, RETENTION, size)

            async def occupy() -> None:
                async with database.read() as session:
                    await session.fetch_value("SELECT pg_sleep(3)")

            class Asked:
                async def is_caught_up(self) -> bool:
                    found = await intake.is_caught_up()
                    self.busy = asyncio.create_task(occupy())
                    await publish(stage.rabbitmq, [good(1)])
                    return found

            asked: Any = Asked()
            await worker._prove_progress(asked, lease)
            await asked.busy
            batch = await intake.next_batch(10, None)

    assert batch is not None
    assert batch.first_accepted_at is not None
    assert lease.accepted_through is not None
    assert lease.accepted_through < batch.first_accepted_at
