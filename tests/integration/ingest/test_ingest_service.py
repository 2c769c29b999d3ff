"""The service as a process: from the stream into the tables, and what it says about itself."""

import asyncio
import time
from uuid import UUID

import aio_pika
import httpx
import msgspec

from analytics_core import clock
from analytics_core.messages import UsageBatchCommitted
from analytics_core.testing.builders import event_body
from tests.integration.ingest.streaming import STREAM, IngestStage, metric, publish, readiness, wait_for
from tests.support.processes import ServiceProcess

RESULTS = ("stored", "duplicate", "conflict", "rejected")


def bodies(count: int, first: int = 0) -> list[bytes]:
    now = clock.now().isoformat()
    return [event_body(eventId=str(UUID(int=number)), occurredAt=now) for number in range(first, first + count)]


async def test_events_go_from_the_stream_into_the_tables(stage: IngestStage) -> None:
    """Backlog first, then what comes; rollup is woken; the metrics count what the tables hold."""
    await publish(stage.rabbitmq, bodies(3000))
    connection = await aio_pika.connect(stage.rabbitmq.amqp_url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("analytics", aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "usage.batch.committed")
        service = await asyncio.to_thread(stage.start)
        await publish(stage.rabbitmq, [*bodies(10, 3000), *bodies(5), b"{bad"])

        totals = await asyncio.to_thread(stage.wait_until_received, 3016)
        woken = [await asyncio.wait_for(queue.get(timeout=10, no_ack=True), 15)]
        wakeup = msgspec.json.decode(woken[0].body, type=UsageBatchCommitted)

    assert totals == {"received": 3016, "stored": 3010, "duplicates": 5, "conflicts": 5, "rejected": 1}
    assert stage.value("SELECT count(DISTINCT event_id) FROM analytics.usage_events") == 3010
    assert stage.next_offset() == 3016
    assert (wakeup.stream, wakeup.partition) == (STREAM, 0)
    assert stage.value("SELECT stored_count FROM analytics.ingestion_batches WHERE batch_id = %s", wakeup.batch_id) == (
        wakeup.stored
    )
    results = {result: metric(service, "analytics_ingestion_events_total", result=result) for result in RESULTS}
    assert results == {"stored": 3010, "duplicate": 0, "conflict": 5, "rejected": 1}
    assert metric(service, "analytics_ingestion_dead_letters_total", reason="not_json") == 1
    assert metric(service, "analytics_ingestion_lease_owner", partition="0") == 1
    assert (metric(service, "analytics_ingestion_batch_duration_seconds_count") or 0) >= 1


async def test_freshness_moves_on_while_nothing_comes(stage: IngestStage) -> None:
    """A quiet platform is not a stale one: every two seconds the broker proves that there is nothing to read."""
    await publish(stage.rabbitmq, bodies(1))
    service = await asyncio.to_thread(stage.start)
    await asyncio.to_thread(stage.wait_until_received, 1)
    age = "SELECT extract(epoch FROM clock_timestamp() - accepted_through)::float8 FROM analytics.stream_offsets"

    await asyncio.sleep(4)
    ages = []
    for _ in range(10):
        ages.append(stage.value(age))
        await asyncio.sleep(0.3)

    # The margin and the pause between two proofs make two seconds; the rest is for a busy machine.
    assert max(ages) < 5
    assert min(ages) > 0.9
    assert (metric(service, "analytics_ingestion_stream_lag_seconds", partition="0") or 99) < 5


async def test_a_graceful_stop_hands_the_partition_over_at_once(stage: IngestStage) -> None:
    """A rolling update: the next replica does not wait for the lease's end, and nothing is read twice."""
    await publish(stage.rabbitmq, bodies(100))
    one = await asyncio.to_thread(stage.start, INGESTION_LEASE="60s")
    await asyncio.to_thread(stage.wait_until_received, 100)
    other = await asyncio.to_thread(stage.start, INGESTION_LEASE="60s")

    exit_code = await asyncio.to_thread(one.stop)
    stopped_at = time.monotonic()
    await publish(stage.rabbitmq, bodies(50, 100))
    totals = await asyncio.to_thread(stage.wait_until_received, 150)

    assert exit_code == 0
    assert time.monotonic() - stopped_at < 15
    assert totals["duplicates"] == 0
    assert metric(other, "analytics_ingestion_lease_owner", partition="0") == 1
    assert stage.value("SELECT epoch FROM analytics.stream_offsets") == 2


async def test_a_stream_of_bad_messages_stops_its_partition(stage: IngestStage) -> None:
    """Good events wait in the stream instead of being binned around a broken producer; an operator is called."""
    await publish(stage.rabbitmq, [*bodies(20), *[b"{bad"] * 10, *bodies(20, 20)])
    service = await asyncio.to_thread(stage.start, INGESTION_DEAD_LETTER_RUN_MAX="30")
    await asyncio.to_thread(stage.wait_until_received, 50)
    assert readiness(service)[0] == 200

    await publish(stage.rabbitmq, [*[b"{bad"] * 40, *bodies(20, 40)])
    wait_for(lambda: metric(service, "analytics_ingestion_stopped", partition="0") == 1, "the partition stops")
    status, dependencies = wait_for(lambda: (answer := readiness(service))[0] == 503 and answer, "not ready")

    assert status == 503
    assert "30 dead letters in a row" in dependencies["partitions"]
    assert dependencies["database"] == "ok"
    assert '"message": "dead_letter_limit_reached"' in service.log()
    assert stage.next_offset() == 50
    assert stage.totals()["rejected"] == 10

    assert await asyncio.to_thread(service.stop) == 0
    await asyncio.to_thread(stage.start, INGESTION_DEAD_LETTER_RUN_MAX="1000", INGESTION_DEAD_LETTER_RATIO_MAX="1")
    totals = await asyncio.to_thread(stage.wait_until_received, 110)
    assert (totals["stored"], totals["rejected"]) == (60, 50)


async def test_a_stream_made_anew_stops_its_partition(stage: IngestStage) -> None:
    """Its offsets name other messages: going on by number would skip new events without a word."""
    await publish(stage.rabbitmq, bodies(100))
    service = await asyncio.to_thread(stage.start)
    await asyncio.to_thread(stage.wait_until_received, 100)
    stage.rabbitmq.management("DELETE", f"/queues/{stage.rabbitmq.vhost}/{STREAM}")
    await publish(stage.rabbitmq, bodies(150, 1000))

    wait_for(lambda: metric(service, "analytics_ingestion_stopped", partition="0") == 1, "the partition stops")

    wait_for(lambda: "offset_regression" in readiness(service)[1]["partitions"], "the reason")
    assert stage.totals()["received"] == 100
    assert stage.next_offset() == 100

    said = await asyncio.to_thread(stage.command, "partitions", "reset", "--partition", "0", "--to", "first")
    totals = await asyncio.to_thread(stage.wait_until_received, 250)

    assert "was at 100, continues at 0" in said
    assert (totals["stored"], totals["duplicates"]) == (250, 0)
    assert metric(service, "analytics_ingestion_stopped", partition="0") == 0
    assert stage.value("SELECT count(*) FROM analytics.stream_gaps") == 0
    recorded = stage.rows("SELECT action, decision, path FROM analytics.audit_log")
    assert {"action": "platform:partitions:change", "decision": "allow"}.items() <= recorded[0].items()
    assert recorded[0]["path"] == "partitions reset --partition 0 --to first"


async def test_a_stream_that_lost_its_end_stops_its_partition(stage: IngestStage) -> None:
    """Empty behind the committed offset: waiting for the numbers to come again would swallow as many events."""
    await publish(stage.rabbitmq, bodies(10))
    stage.rows(
        "INSERT INTO analytics.stream_offsets (stream, partition, next_offset, last_chunk_at)"
        " VALUES (%s, 0, 500, clock_timestamp())", STREAM,
    )  # fmt: skip
    service = await asyncio.to_thread(stage.start)

    wait_for(lambda: metric(service, "analytics_ingestion_stopped", partition="0") == 1, "the partition stops")

    wait_for(lambda: "ends before offset 499" in readiness(service)[1]["partitions"], "the reason")
    assert stage.next_offset() == 500

    await asyncio.to_thread(stage.command, "partitions", "reset", "--partition", "0", "--to", "next")
    await publish(stage.rabbitmq, bodies(5, 10))
    totals = await asyncio.to_thread(stage.wait_until_received, 5)
    listed = await asyncio.to_thread(stage.command, "partitions", "list")

    assert totals["stored"] == 5
    assert "next offset 15" in listed
    assert "10 offsets never read" in listed
    assert "the stream has 0 to 14" in listed


async def test_a_partition_that_nobody_reads_any_more_is_retired(stage: IngestStage) -> None:
    """Its row would hold the freshness of the whole platform back for ever, as long as it counts."""
    stage.rows(
        "INSERT INTO analytics.stream_offsets (stream, partition, accepted_through)"
        " VALUES ('before', 0, clock_timestamp()), ('before', 1, NULL)"
    )
    assert stage.value("SELECT analytics.watermark()") is None

    await asyncio.to_thread(stage.command, "partitions", "retire", "--stream", "before", "--partition", "1")

    assert stage.value("SELECT analytics.watermark()") is not None


async def test_messages_that_retention_removed_are_reported(stage: IngestStage) -> None:
    """They are lost to ingest, and that is said with their offsets; the rest is stored."""
    name = STREAM
    stage.rabbitmq.management(
        "PUT", f"/queues/{stage.rabbitmq.vhost}/{name}",
        json={
            "durable": True,
            "arguments": {
                "x-queue-type": "stream", "x-max-length-bytes": 200_000, "x-stream-max-segment-size-bytes": 100_000,
            },
        },
    )  # fmt: skip
    for start in range(0, 4000, 500):
        await publish(stage.rabbitmq, bodies(500, start))
    service = await asyncio.to_thread(stage.start)
    wait_for(lambda: stage.next_offset() == 4000, "the end of the stream")

    first = stage.value("SELECT min(first_offset) FROM analytics.ingestion_batches")
    assert first > 0
    assert metric(service, "analytics_ingestion_gaps_total", partition="0") == 1
    assert f'"next_offset": {first}' in service.log()
    (gap,) = stage.rows("SELECT first_offset, end_offset, reason, before_at FROM analytics.stream_gaps")
    assert (gap["first_offset"], gap["end_offset"], gap["reason"]) == (0, first, "retention")
    assert gap["before_at"] is not None
    assert f"offsets 0 to {first - 1}, retention" in await asyncio.to_thread(stage.command, "partitions", "gaps")
    assert stage.totals()["stored"] == 4000 - first


async def test_servers_that_are_away_at_start_are_named_and_waited_for(stage: IngestStage) -> None:
    """Start order does not matter; the log says what is missing, and no password."""
    service = await asyncio.to_thread(
        stage.start,
        wait=False,
        DATABASE_URL="postgres://nobody:very-secret@127.0.0.1:1/analytics",
        RABBITMQ_STREAM_URL="rabbitmq-stream://guest:very-secret@127.0.0.1:1/x",
        RABBITMQ_URL="amqp://guest:very-secret@127.0.0.1:1/x",
    )

    status, dependencies = wait_for(lambda: answer_of(service), "an answer of readyz")

    assert status == 503
    assert {name for name, state in dependencies.items() if state != "ok"} == {"database", "stream", "rabbitmq"}
    log = service.log()
    assert '"dependency": "database"' in log
    assert '"dependency": "stream"' in log
    assert "very-secret" not in log
    assert service.exit_code is None
    assert await asyncio.to_thread(service.stop) == 0


def answer_of(service: ServiceProcess) -> tuple[int, dict[str, str]] | None:
    try:
        return readiness(service)
    except httpx.HTTPError:
        return None


async def test_ingestion_goes_on_while_amqp_is_away(stage: IngestStage) -> None:
    """Wake-ups are a courtesy: readiness and ingestion do not depend on them."""
    await publish(stage.rabbitmq, bodies(10))
    service = await asyncio.to_thread(stage.start, RABBITMQ_URL="amqp://guest:guest@127.0.0.1:1/x")

    totals = await asyncio.to_thread(stage.wait_until_received, 10)

    assert totals["stored"] == 10
    status, dependencies = readiness(service)
    assert status == 200
    assert dependencies["rabbitmq"] != "ok"


def test_a_wrong_configuration_ends_with_2_and_the_variables_name(stage: IngestStage) -> None:
    """A container that restarts for ever is noticed later than one that says why it will not start."""
    service = stage.start(wait=False, RABBITMQ_STREAM_PARTITIONS="none", INGESTION_WORKER="2")

    assert service.wait(60) == 2
    assert "RABBITMQ_STREAM_PARTITIONS: " in service.log()
    assert "INGESTION_WORKER: unknown variable; did you mean INGESTION_WORKERS?" in service.log()
