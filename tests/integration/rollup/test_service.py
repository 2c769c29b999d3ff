"""The real process: woken by messages, living without them, honest about its state."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import isnan
from urllib.parse import quote

import httpx
import msgspec
import psycopg
import pytest
from aio_pika import ExchangeType, Message, connect
from prometheus_client.parser import text_string_to_metric_families

from analytics_core import clock
from analytics_core.database import WriteDatabase
from analytics_core.messages import EXCHANGE, ROLLUP_COMPLETED, USAGE_BATCH_COMMITTED, RollupCompleted
from analytics_core.testing.builders import NOON, ORG_ID
from analytics_rollup import worker
from analytics_rollup.wakeups import WakeUps
from analytics_rollup.worker import Folder
from tests.support.batches import Batch, StoredEvent, recount, rollup, store
from tests.support.polling import eventually
from tests.support.processes import ServiceProcess, ServiceProcesses
from tests.support.stack import Database, RabbitMq

SCRIPT = "analytics-rollup"
NOWHERE = "amqp://guest:guest@127.0.0.1:1/"


def environment(place: Database, port: int, rabbitmq_url: str) -> dict[str, str]:
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": place.dsn("analytics_rollup"),
        "RABBITMQ_URL": rabbitmq_url,
        "HTTP_PORT": str(port),
    }


def metrics(process: ServiceProcess) -> dict[str, float]:
    text = httpx.get(f"{process.url}/metrics", trust_env=False).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {f"{sample.name}{sample.labels or ''}": sample.value for sample in samples}


def readiness(process: ServiceProcess) -> tuple[int, dict[str, str]]:
    answer = httpx.get(f"{process.url}/analytics/v1/status/readyz", trust_env=False)
    return answer.status_code, answer.json()["dependencies"]


def answers(process: ServiceProcess) -> bool:
    try:
        return httpx.get(f"{process.url}/analytics/v1/status/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def is_folded(place: Database) -> Callable[[], bool]:
    def look() -> bool:
        with psycopg.connect(place.owner_dsn) as connection:
            row = connection.execute(
                "SELECT count(*) > 0 AND count(*) = count(folded_at) FROM analytics.ingestion_batches"
            ).fetchone()
        return row == (True,)

    return look


async def send(rabbitmq: RabbitMq, body: bytes = b"{}") -> None:
    """A wake-up as ingest sends it; its content does not matter."""
    async with await connect(rabbitmq.amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
        await exchange.publish(Message(body), USAGE_BATCH_COMMITTED, mandatory=False)


def consumers(rabbitmq: RabbitMq) -> int:
    return sum(queue.get("consumers", 0) for queue in rabbitmq.management("GET", f"/queues/{rabbitmq.vhost}").json())


@pytest.fixture
def start(
    place: Database, service_processes: ServiceProcesses, free_port: Callable[[], int]
) -> Callable[[str], ServiceProcess]:
    """Starts the service against `place`."""

    def run(rabbitmq_url: str) -> ServiceProcess:
        return service_processes.start(SCRIPT, environment(place, free_port(), rabbitmq_url))

    return run


def test_without_the_broker_it_polls(place: Database, start: Callable[[str], ServiceProcess]) -> None:
    """RabbitMQ away: ready all the same, batches are found by looking, and the log says so once."""
    process = start(NOWHERE)
    event = StoredEvent()
    store(place.dsn("analytics_ingest"), [Batch([event])])
    eventually(is_folded(place))
    status, dependencies = readiness(process)

    assert rollup(place.owner_dsn, "usage_hourly") == recount([event])
    assert status == 200
    assert dependencies["database"] == "ok"
    assert dependencies["rabbitmq"] != "ok"
    assert process.log().count("rabbitmq") == 1


async def test_a_message_wakes_it(
    place: Database, rabbitmq: RabbitMq, rollup_database: WriteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With polling put off for minutes, a message is all that can make it fold; what the message says is no matter."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 600.0)
    stop = asyncio.Event()
    wake_ups = WakeUps(rabbitmq.amqp_url)
    async with asyncio.TaskGroup() as group:
        group.create_task(wake_ups.run(stop))
        working = group.create_task(Folder(rollup_database, wake_ups, clock.now).work(stop))
        await asyncio.to_thread(eventually, lambda: consumers(rabbitmq) == 1)
        for _ in range(3):
            store(place.dsn("analytics_ingest"), [Batch([StoredEvent()])])
            await send(rabbitmq, b"not even JSON")
            await asyncio.to_thread(eventually, is_folded(place))
        stop.set()
        working.cancel()


async def test_a_fold_is_announced(place: Database, rabbitmq: RabbitMq, start: Callable[[str], ServiceProcess]) -> None:
    """query-api drops what it has cached about exactly these organisations."""
    async with await connect(rabbitmq.amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, ROLLUP_COMPLETED)
        start(rabbitmq.amqp_url)
        eventually(lambda: consumers(rabbitmq) == 1)
        store(place.dsn("analytics_ingest"), [Batch([StoredEvent()]), Batch([StoredEvent()])])
        await send(rabbitmq)
        async with asyncio.timeout(10), queue.iterator() as messages:
            body = (await anext(messages)).body

    message = msgspec.json.decode(body, type=RollupCompleted)
    assert (message.org_ids, message.folded_batches) == ([ORG_ID], 2)
    assert datetime.now(UTC) - message.completed_at < timedelta(minutes=1)


def test_it_hears_again_after_its_connection_was_cut(
    make_rabbitmq: Callable[[], RabbitMq], start: Callable[[str], ServiceProcess]
) -> None:
    """A broker that restarts closes every connection and forgets the queue that belonged to it.

    A new queue is the proof: the moment without one is too short to be sure to see it. The virtual host is the test's
    own, because connections of others can be closed, too, and take seconds to leave the list.
    """
    rabbitmq = make_rabbitmq()
    process = start(rabbitmq.amqp_url)
    eventually(lambda: heard_queues(rabbitmq))
    first = heard_queues(rabbitmq)
    eventually(lambda: own_connections(rabbitmq))
    for name in own_connections(rabbitmq):
        rabbitmq.management("DELETE", f"/connections/{quote(name)}")
    eventually(lambda: heard_queues(rabbitmq) - first, patience_s=60)
    eventually(lambda: heard_queues(rabbitmq).isdisjoint(first), patience_s=60)
    eventually(lambda: readiness(process)[1]["rabbitmq"] == "ok")


def heard_queues(rabbitmq: RabbitMq) -> set[str]:
    """The queues that somebody listens to."""
    queues = rabbitmq.management("GET", f"/queues/{rabbitmq.vhost}").json()
    return {queue["name"] for queue in queues if queue.get("consumers", 0)}


def own_connections(rabbitmq: RabbitMq) -> list[str]:
    """The management API learns of a connection within 5 s."""
    return [item["name"] for item in rabbitmq.management("GET", f"/vhosts/{rabbitmq.vhost}/connections").json()]


def test_metrics_say_what_was_done_and_how_far_it_is(place: Database, start: Callable[[str], ServiceProcess]) -> None:
    """Lag is NaN before anybody can know it, then the age of the watermark, 0 when all is in."""
    process = start(NOWHERE)
    eventually(lambda: "analytics_freshness_lag_seconds" in metrics(process))
    unknown = metrics(process)["analytics_freshness_lag_seconds"]
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent()] * 3)])
    eventually(is_folded(place))
    with accepted_through(place, timedelta(hours=1)):
        eventually(lambda: metrics(process)["analytics_freshness_lag_seconds"] > 0)
        behind = metrics(process)
    with accepted_through(place, timedelta(0)):
        eventually(lambda: metrics(process)["analytics_freshness_lag_seconds"] == 0)

    assert isnan(unknown)
    assert 3_600 <= behind["analytics_freshness_lag_seconds"] < 3_700
    assert behind["analytics_rollup_rows_processed_total"] == 3
    assert behind["analytics_rollup_batches_folded_total"] == 1
    assert behind["analytics_rollup_duration_seconds_count"] == 1
    assert behind["analytics_rollup_unfolded_batches"] == 0
    assert time.time() - behind["analytics_rollup_last_success_timestamp"] < 60


@contextmanager
def accepted_through(place: Database, age: timedelta) -> Iterator[None]:
    """What ingest would have written."""
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute(
            "INSERT INTO analytics.stream_offsets (stream, partition, accepted_through) VALUES ('s', 0, now() - %s)"
            " ON CONFLICT (stream, partition) DO UPDATE SET accepted_through = EXCLUDED.accepted_through",
            [age],
        )
    yield


def test_one_bad_batch_does_not_hold_up_the_others(place: Database, start: Callable[[str], ServiceProcess]) -> None:
    """It is tried alone, counted and logged; the watermark waits for it."""
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent()]), Batch([StoredEvent()] * 2), Batch([StoredEvent()])])
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute("UPDATE analytics.ingestion_batches SET stored_count = 1, received_count = 1")
    process = start(NOWHERE)
    eventually(lambda: metrics(process)["analytics_rollup_batches_folded_total"] == 2)
    after = metrics(process)

    assert rollup(place.owner_dsn, "usage_hourly") == recount([StoredEvent()] * 2)
    assert after["analytics_rollup_unfoldable_batches"] == 1
    assert after["analytics_rollup_fold_failures_total{'reason': 'data'}"] == 2
    assert "1 events were stored, 2 are found" in process.log()


def test_it_waits_for_the_database(
    service_processes: ServiceProcesses, free_port: Callable[[], int], place: Database
) -> None:
    """Unreachable at start: alive, not ready, and the log names what it waits for."""
    env = environment(place, free_port(), NOWHERE) | {"DATABASE_URL": "postgres://u:secret@127.0.0.1:1/d"}
    process = service_processes.start(SCRIPT, env, wait=False)
    eventually(lambda: answers(process), patience_s=60)
    eventually(lambda: process.log().count('"dependency": "database"') == 1)
    status, dependencies = readiness(process)

    assert status == 503
    assert dependencies["database"] != "ok"
    assert "secret" not in process.log()
    assert process.stop() == 0


def test_it_stops_when_asked(place: Database, rabbitmq: RabbitMq, start: Callable[[str], ServiceProcess]) -> None:
    """SIGTERM: the fold under way ends, then the process does, within seconds."""
    process = start(rabbitmq.amqp_url)
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent(NOON)])])
    started = time.monotonic()
    code = process.stop()

    assert code == 0
    assert time.monotonic() - started < 15


def test_a_taken_port_is_the_last_thing_it_says(
    place: Database, rabbitmq: RabbitMq, service_processes: ServiceProcesses
) -> None:
    """Not that its connection to RabbitMQ, then being made, was cut off."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = environment(place, taken.getsockname()[1], rabbitmq.amqp_url)
        process = service_processes.start(SCRIPT, env, wait=False)

        assert process.wait() == 1
    assert "HTTP_PORT: cannot listen on port" in process.log().splitlines()[-1]
