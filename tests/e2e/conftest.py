"""Places for the product to run on, and the product running on them."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.platform import JWT_SECRET, STREAM, Places, Platform
from tests.support.otlp import Collector, collecting
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq


def make_places(
    database: Database, rabbitmq: RabbitMq, redis_url: str, s3: ObjectStore, free_port: Callable[[], int]
) -> Places:
    shared = {"ENVIRONMENT": "test", "RABBITMQ_URL": rabbitmq.amqp_url, "LOG_LEVEL": "info"}
    access = {"AUTH_JWT_SECRET": JWT_SECRET}
    own = {
        "ingest": {
            "RABBITMQ_STREAM_URL": rabbitmq.stream_url,
            "RABBITMQ_STREAM": STREAM,
            # A killed owner is succeeded within this time; tests that kill need not wait for the usual 12 s.
            "INGESTION_LEASE": "3s",
            **access,
        },
        "rollup": {},
        "query-api": {"REDIS_URL": redis_url, **access},
        "export": {
            "S3_ENDPOINT": s3.endpoint,
            "S3_ACCESS_KEY": s3.access_key,
            "S3_SECRET_KEY": s3.secret_key,
            "S3_REGION": s3.region,
            "S3_BUCKET": s3.bucket,
            "EXPORT_WORKER_INTERVAL": "1s",
            **access,
        },
    }
    environments = {
        service: {
            **shared,
            **variables,
            "SERVICE_NAME": f"analytics-{service}",
            "HTTP_PORT": str(free_port()),
            "DATABASE_URL": database.dsn(f"analytics_{service.replace('-', '_')}"),
        }
        for service, variables in own.items()
    }
    return Places(database, rabbitmq, s3, environments)


@pytest.fixture
def places(
    make_database: Callable[..., Database],
    make_rabbitmq: Callable[[], RabbitMq],
    redis_url: str,
    s3: ObjectStore,
    free_port: Callable[[], int],
) -> Places:
    """A fresh migrated database and a fresh virtual host, and what the services are told of them."""
    return make_places(make_database(), make_rabbitmq(), redis_url, s3, free_port)


@pytest.fixture
def platform(places: Places) -> Iterator[Platform]:
    """Four ready services on a fresh database and virtual host."""
    with ServiceProcesses() as processes:
        yield Platform(places, processes, services={}).start_all()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Takes the spans of `traced`."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced(
    make_database: Callable[..., Database],
    make_rabbitmq: Callable[[], RabbitMq],
    redis_url: str,
    s3: ObjectStore,
    free_port: Callable[[], int],
    collector: Collector,
) -> Iterator[Platform]:
    """Four services, not yet started, that log every line and export spans, in both kinds of OTLP."""
    places = make_places(make_database(), make_rabbitmq(), redis_url, s3, free_port)
    over_http = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    over_grpc = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    for service, environment in places.environments.items():
        spoken = over_http if service in {"ingest", "export"} else over_grpc
        environment.update(spoken, LOG_LEVEL="debug", OTEL_BSP_SCHEDULE_DELAY="100")
    with ServiceProcesses() as processes:
        yield Platform(places, processes, services={})
