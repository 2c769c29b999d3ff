"""The running platform, one for the tests of this folder."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.platform import JWT_SECRET, STREAM, Platform
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq


@pytest.fixture
def platform(
    make_database: Callable[..., Database],
    make_rabbitmq: Callable[[], RabbitMq],
    redis_url: str,
    s3: ObjectStore,
    free_port: Callable[[], int],
) -> Iterator[Platform]:
    """Four ready services on a fresh database and virtual host."""
    database, rabbitmq = make_database(), make_rabbitmq()
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
    with ServiceProcesses() as processes:
        running = Platform(database, rabbitmq, s3, processes, environments, services={})
        for service in environments:
            running.start(service)
        for process in running.services.values():
            process.wait_until_ready()
        yield running
