"""Puts the service together: opens what it needs, in one place, and closes it in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from litestar import Litestar

from analytics_core import clock
from analytics_core.audit import AuditLog
from analytics_core.database import ReadDatabase, WriteDatabase
from analytics_core.http.app import build_app, with_edge
from analytics_core.http.guards import AccessGuard
from analytics_core.http.identity import Authenticator
from analytics_core.http.rate_limits.limits import open_rate_limits
from analytics_core.lifecycle import Dependencies, Dependency, run_until_stopped, serve_http
from analytics_ingest import limits
from analytics_ingest.balance import Balance
from analytics_ingest.batch import BatchSize
from analytics_ingest.dead_letter_replay import Replays
from analytics_ingest.dead_letters import DeadLetterLimit
from analytics_ingest.event_publisher import EventPublisher, stream_publisher
from analytics_ingest.http_ingest import HttpIngest
from analytics_ingest.leases import Leases, owner_name
from analytics_ingest.partition import PartitionSettings, PartitionWorker
from analytics_ingest.probe import StreamProbe
from analytics_ingest.routes import ROUTES
from analytics_ingest.routes.documentation import document_events
from analytics_ingest.routes.reading import EventReader
from analytics_ingest.settings import Settings
from analytics_ingest.stops import Stops
from analytics_ingest.stream_client import Broker, StreamSpec
from analytics_ingest.stream_reader import open_reader
from analytics_ingest.wakeups import Wakeups
from analytics_ingest.watchdog import Watchdog
from analytics_ingest.writer import BatchWriter


@dataclass(frozen=True, slots=True)
class Resources:
    """What the running service consists of."""

    app: Litestar
    workers: tuple[PartitionWorker, ...]
    balance: Balance
    wakeups: Wakeups
    dependencies: Dependencies
    audit: AuditLog


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the service until `stop` is set: the stream into the database, events over HTTP into the stream."""
    limits.check()
    async with open_resources(settings) as resources:
        audit = asyncio.create_task(resources.audit.run())
        watchdog = Watchdog([worker.last_move for worker in resources.workers], limits.WATCHDOG_PATIENCE)
        try:
            with watchdog:
                await run_until_stopped(
                    stop,
                    serve_http(with_edge(resources.app), settings, stop),
                    resources.dependencies.watch(stop),
                    resources.wakeups.run(stop),
                    # Every replica offers itself for every partition, and leases decide.
                    resources.balance.run(stop),
                    *(worker.run(stop) for worker in resources.workers),
                )
        finally:
            # The last requests have their answers now, so nobody records any more.
            audit.cancel()
            await asyncio.gather(audit, return_exceptions=True)


def build_http_app(
    dependencies: Dependencies,
    guard: AccessGuard | None = None,
    http_ingest: HttpIngest | None = None,
    dead_letter_database: ReadDatabase | None = None,
    replays: Replays | None = None,
) -> Litestar:
    """The HTTP application; needs no server to be built, and without guard and events it can only describe itself."""
    app = build_app(
        title="Analytics ingest",
        description="Takes usage events over HTTP into the stream, and from the stream into the database exactly once.",
        routes=ROUTES,
        guard=guard,
        dependencies=dependencies,
        resources={
            "http_ingest": http_ingest,
            "event_reader": EventReader(),
            "dead_letter_database": dead_letter_database,
            "replays": replays,
        },
    )
    document_events(app)
    return app


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Everything that the service needs, for the length of the block. No server has to be reachable yet."""
    broker = Broker.from_url(settings.rabbitmq_stream_url.get_secret_value())
    spec = stream_spec(settings)
    wakeups = Wakeups(settings.rabbitmq_url.get_secret_value())
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            WriteDatabase.open(
                settings.database_url.get_secret_value(),
                application_name=settings.service_name,
                pool_size=settings.database_pool_size,
            )
        )
        audit_database = await stack.enter_async_context(
            WriteDatabase.open(
                settings.database_url.get_secret_value(),
                application_name=f"{settings.service_name}-audit",
                pool_size=limits.AUDIT_POOL_SIZE,
            )
        )
        audit = AuditLog(audit_database, settings.service_name)
        rate_limits = await stack.enter_async_context(open_rate_limits(settings))
        dead_letter_database = await stack.enter_async_context(
            WriteDatabase.open(
                settings.database_url.get_secret_value(),
                application_name=f"{settings.service_name}-dead-letters",
                pool_size=limits.DEAD_LETTER_POOL_SIZE,
            )
        )
        publisher = await stack.enter_async_context(
            stream_publisher(settings.rabbitmq_stream_url.get_secret_value(), spec.name)
        )
        probe = StreamProbe(broker, f"{settings.rabbitmq_consumer}-status", spec.partition_name(0))
        stack.push_async_callback(probe.close)
        owner = owner_name(settings.rabbitmq_consumer)
        leases = Leases(database, spec.name, spec.partitions, owner, settings.ingestion_lease)
        writer = BatchWriter(database, wakeups, settings.ingestion_workers, clock.now)
        new_limit = partial(
            DeadLetterLimit, settings.ingestion_dead_letter_ratio_max, settings.ingestion_dead_letter_run_max
        )
        workers = tuple(
            PartitionWorker(
                PartitionSettings(partition, settings.raw_retention, BatchSize.beside(spec.partitions), new_limit),
                leases,
                Stops(database, settings.ingestion_dead_letter_run_max),
                partial(open_reader, broker, settings.rabbitmq_consumer, spec),
                writer,
                clock.now,
            )
            for partition in range(spec.partitions)
        )
        dependencies = Dependencies(
            {
                "database": Dependency(database.ping),
                "stream": Dependency(probe.check),
                "partitions": Dependency(partial(_check_partitions, workers)),
                "rabbitmq": Dependency(wakeups.check, required=False),
            }
        )
        app = build_http_app(
            dependencies,
            AccessGuard(Authenticator(settings, clock.now), audit, clock.now, rate_limits),
            HttpIngest(EventPublisher(publisher), clock.now, settings.raw_retention),
            dead_letter_database,
            Replays(dead_letter_database, EventPublisher(publisher), clock.now, settings.raw_retention),
        )
        balance = Balance(database, spec.name, spec.partitions, leases)
        yield Resources(app, workers, balance, wakeups, dependencies, audit)


def stream_spec(settings: Settings) -> StreamSpec:
    """The stream to read, with the retention that a stream of ours is declared with."""
    return StreamSpec(
        name=settings.rabbitmq_stream,
        partitions=settings.rabbitmq_stream_partitions,
        retention={
            "max-age": f"{int(settings.rabbitmq_stream_max_age.total_seconds())}s",
            "max-length-bytes": str(settings.rabbitmq_stream_max_length_bytes),
            "stream-max-segment-size-bytes": str(settings.rabbitmq_stream_segment_bytes),
        },
    )


async def _check_partitions(workers: tuple[PartitionWorker, ...]) -> None:
    stopped = [worker.stopped_because for worker in workers if worker.stopped_because is not None]
    if stopped:
        raise RuntimeError("; ".join(stopped))
