"""What the tests of ingest share: publishing, the service as a process, and the tables as it left them."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row
from rstream import AMQPMessage, Producer, exceptions

from tests.support.callers import JWT_SECRET
from tests.support.processes import ServiceProcess, ServiceProcesses
from tests.support.stack import Database, RabbitMq

STREAM = "analytics.usage.v1"
PATIENCE_S = 60
PUBLISH_BATCH = 500


async def publish(rabbitmq: RabbitMq, bodies: Iterable[bytes], stream: str = STREAM) -> None:
    """Publish each body as a message with one data section, confirmed, in order."""
    await publish_messages(rabbitmq, [AMQPMessage(body=body) for body in bodies], stream)


async def publish_messages(rabbitmq: RabbitMq, messages: Sequence[Any], stream: str = STREAM) -> None:
    """Publish ready messages (rstream's, or raw bytes), confirmed, in order."""
    confirmed = 0
    done = asyncio.Event()

    def on_confirm(_status: object) -> None:
        nonlocal confirmed
        confirmed += 1
        if confirmed == len(messages):
            done.set()

    async with Producer(
        rabbitmq.host, rabbitmq.stream_port, username=rabbitmq.user, password=rabbitmq.password, vhost=rabbitmq.vhost
    ) as producer:
        # Ingest may have declared it before, with other arguments.
        with suppress(exceptions.PreconditionFailed):
            await producer.create_stream(stream, exists_ok=True)
        for start in range(0, len(messages), PUBLISH_BATCH):
            await producer.send_batch(stream, messages[start : start + PUBLISH_BATCH], on_publish_confirm=on_confirm)
        if messages:
            await asyncio.wait_for(done.wait(), PATIENCE_S)


@dataclass(frozen=True)
class Tables:
    """What ingest has left in its tables."""

    database: Database

    def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.database.owner_dsn, row_factory=dict_row) as connection:
            cursor = connection.execute(query, arguments)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *arguments: object) -> Any:
        (row,) = self.rows(query, *arguments)
        (value,) = row.values()
        return value

    def totals(self) -> dict[str, int]:
        """Sums over ingestion_batches: received, stored, duplicates, conflicts, rejected."""
        (row,) = self.rows(
            "SELECT coalesce(sum(received_count), 0)::int AS received, coalesce(sum(stored_count), 0)::int AS stored,"
            " coalesce(sum(duplicate_count), 0)::int AS duplicates, coalesce(sum(conflict_count), 0)::int AS conflicts,"
            " coalesce(sum(rejected_count), 0)::int AS rejected FROM analytics.ingestion_batches"
        )
        return row

    def wait_until_received(self, count: int, patience_s: float = PATIENCE_S) -> dict[str, int]:
        """The totals once so many messages are committed."""
        wait_for(lambda: self.totals()["received"] >= count, f"{count} messages received", patience_s)
        return self.totals()

    def next_offset(self, partition: int = 0) -> int:
        return int(self.value("SELECT next_offset FROM analytics.stream_offsets WHERE partition = %s", partition))

    def empty(self) -> None:
        """As after the migrations."""
        self.rows(
            "TRUNCATE analytics.usage_events, analytics.ingestion_batches, analytics.dead_letters,"
            " analytics.stream_offsets CASCADE"
        )


@dataclass(frozen=True)
class IngestStage(Tables):
    """A database and a virtual host, and ingest between them."""

    rabbitmq: RabbitMq
    processes: ServiceProcesses
    free_port: Callable[[], int]

    def env(self, **overrides: str) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database.dsn("analytics_ingest"),
            "RABBITMQ_URL": self.rabbitmq.amqp_url,
            "RABBITMQ_STREAM_URL": self.rabbitmq.stream_url,
            "RABBITMQ_STREAM": STREAM,
            "AUTH_JWT_SECRET": JWT_SECRET,
            "ENVIRONMENT": "test",
            "LOG_LEVEL": "info",
            # A killed owner's partitions are free again after this; tests have less patience than operators.
            "INGESTION_LEASE": "3s",
            "HTTP_PORT": str(self.free_port()),
        } | overrides

    def start(self, *, wait: bool = True, **overrides: str) -> ServiceProcess:
        return self.processes.start("analytics-ingest", self.env(**overrides), wait=wait)

    def command(self, *words: str) -> str:
        """What `analytics-ingest WORDS` prints, once it has ended well."""
        program = Path(sys.prefix) / "bin" / "analytics-ingest"
        done = subprocess.run(
            [program, *words], env=self.env(), capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def wait_for(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """The condition's value once it is true; AssertionError when that takes too long."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(0.05)


def metric(process: ServiceProcess, name: str, **labels: str) -> float | None:
    """One sample of a service's /metrics; None when it is not there."""
    wanted = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
    for line in httpx.get(f"{process.url}/metrics", timeout=5, trust_env=False).text.splitlines():
        if line.startswith(f"{wanted} "):
            return float(line.rpartition(" ")[2])
    return None


def readiness(process: ServiceProcess) -> tuple[int, dict[str, str]]:
    answer = httpx.get(f"{process.url}/analytics/v1/status/readyz", timeout=10, trust_env=False)
    return answer.status_code, answer.json()["dependencies"]
