"""The part of the platform that takes events in: servers, ingest and rollup as processes, and how far they are."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from tests.perf.load.account import Account
from tests.perf.load.publisher import Publisher
from tests.perf.load.servers import bench_servers, transparent_huge_pages
from tests.support import stack_places
from tests.support.callers import JWT_SECRET
from tests.support.processes import ServiceProcess, ServiceProcesses
from tests.support.stack import Database, RabbitMq

STREAM = "analytics.usage.v1"
POLL_S = 0.25
PROGRESS = """
SELECT
    coalesce((SELECT sum(next_offset) FROM analytics.stream_offsets), 0)::bigint,
    coalesce(sum(stored_count) FILTER (WHERE folded_at IS NULL), 0)::bigint,
    coalesce(sum(stored_count) FILTER (WHERE dimensions_folded_at IS NULL), 0)::bigint
FROM analytics.ingestion_batches
WHERE folded_at IS NULL OR dimensions_folded_at IS NULL
"""


@dataclass(frozen=True)
class Progress:
    """At a moment: events confirmed by the broker, committed by ingest, and committed ones that no rollup has yet."""

    at: float
    published: int
    committed: int
    unfolded: int
    without_dimensions: int

    @property
    def waiting(self) -> int:
        """Events in the stream that are not committed."""
        return self.published - self.committed


@dataclass(frozen=True)
class DimensionFold:
    """What the dimension fold has done so far: events, and seconds that it took for them, rests left out."""

    events: float
    seconds: float

    def rate_since(self, before: "DimensionFold") -> float | None:
        """Events/s while it worked; None when no fold has ended meanwhile."""
        seconds = self.seconds - before.seconds
        return (self.events - before.events) / seconds if seconds else None


@dataclass
class Platform:
    """Servers and a publisher, with ingest and rollup to be started and stopped."""

    database: Database
    rabbitmq: RabbitMq
    partitions: int
    publisher: Publisher
    _processes: ServiceProcesses
    # One connection for every look: a new one costs PostgreSQL as much as a thousand events.
    _monitor: psycopg.Connection
    services: dict[str, ServiceProcess] = field(default_factory=dict)

    @property
    def account(self) -> Account:
        return Account(self.database.stack, self.database, self.pids)

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.services.items()} | {"publisher": self.publisher.pid}

    def start(self, *names: str) -> None:
        """Start `ingest` or `rollup` and wait until they are ready."""
        for name in names:
            self.services[name] = self._processes.start(f"analytics-{name}", self._environment(name))

    def stop(self, *names: str) -> None:
        """As a deployment stops them: SIGTERM, then wait."""
        for name in names:
            self.services.pop(name).stop()

    def memory_pages(self) -> str:
        """PostgreSQL's memory for pages, whether it is in huge pages, and who gets transparent ones."""
        row = self._monitor.execute(
            "SELECT current_setting('shared_buffers'), current_setting('huge_pages_status')"
        ).fetchone()
        assert row
        return f"shared_buffers {row[0]}, huge pages {row[1]}, transparent ones {transparent_huge_pages()}"

    def progress(self) -> Progress:
        row = self._monitor.execute(PROGRESS.encode()).fetchone()
        assert row
        return Progress(time.monotonic(), self.publisher.published, *row)

    def dimension_fold(self) -> DimensionFold:
        """As rollup counts it: a fold counts when it ends."""
        text = httpx.get(f"{self.services['rollup'].url}/metrics", trust_env=False).text
        families = text_string_to_metric_families(text)
        values = {sample.name: sample.value for family in families for sample in family.samples}
        return DimensionFold(
            values["analytics_rollup_dimensions_rows_processed_total"],
            values["analytics_rollup_dimensions_duration_seconds_sum"],
        )

    def wait_until(self, condition: Callable[[Progress], bool], patience_s: float = 900) -> Progress:
        """The progress once the condition holds; AssertionError when that takes too long."""
        deadline = time.monotonic() + patience_s
        while not condition(progress := self.progress()):
            assert time.monotonic() < deadline, f"still {progress} after {patience_s} s"
            time.sleep(POLL_S)
        return progress

    def _environment(self, name: str) -> dict[str, str]:
        environment = {
            "ENVIRONMENT": "test",
            "LOG_LEVEL": "warning",
            "SERVICE_NAME": f"analytics-{name}",
            "HTTP_PORT": str(_free_port()),
            "RABBITMQ_URL": self.rabbitmq.amqp_url,
            "DATABASE_URL": self.database.dsn(f"analytics_{name}"),
        }
        if name == "ingest":
            environment |= {
                "RABBITMQ_STREAM_URL": self.rabbitmq.stream_url,
                "RABBITMQ_STREAM": STREAM,
                "RABBITMQ_STREAM_PARTITIONS": str(self.partitions),
                "AUTH_JWT_SECRET": JWT_SECRET,
            }
        return environment


@contextmanager
def platform(partitions: int = 1, *, by_org: bool = True) -> Iterator[Platform]:
    """A fresh database and stream on the bench stack, with ingest and rollup; at the end only the servers stay."""
    servers = bench_servers()
    with (
        stack_places.database(servers) as database,
        stack_places.virtual_host(servers) as rabbitmq,
        ServiceProcesses() as processes,
        psycopg.connect(database.superuser_dsn, autocommit=True) as monitor,
    ):
        streams = [STREAM] if partitions == 1 else [f"{STREAM}-{number}" for number in range(partitions)]
        publisher = Publisher(rabbitmq, streams, by_org=by_org)
        made = Platform(database, rabbitmq, partitions, publisher, processes, monitor)
        made.start("ingest", "rollup")
        # Ingest has declared the stream; now somebody can publish to it.
        with publisher:
            yield made


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
