"""A database full of usage, and services that a test may kill."""

from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.integration.export.running import ExportApi, environment
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

MODELS = 270
ROWS = 31 * 24 * MODELS
FILL = f"""
INSERT INTO analytics.usage_hourly (org_id, bucket_start, model_id, invocations, error_count, timeout_count,
    throttled_count, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents, latency_bins,
    latency_counts, first_event_at, last_event_at)
SELECT %s, bucket, 'provider/model-' || model, 100 + model, 3, 2, 1, 100000 * model, 50000, 100, 50, 123456789 * model,
    '{{100}}', '{{1}}', bucket, bucket
FROM generate_series(timestamptz '2026-03-01+00', timestamptz '2026-03-31 23:00+00', interval '1 hour') AS bucket,
    generate_series(1, {MODELS}::bigint) AS model
"""
StartExport = Callable[..., ExportApi]


@pytest.fixture(scope="module")
def crash_database(make_database: Callable[..., Database]) -> Database:
    """A queue that no other test's workers serve."""
    return make_database()


@pytest.fixture(scope="module")
def busy_org(crash_database: Database) -> UUID:
    """An organisation with 200,880 hourly rows in March 2026: a file of 27 MB, four parts."""
    org_id = uuid4()
    with psycopg.connect(crash_database.owner_dsn) as connection:
        connection.execute(FILL, (org_id,))
        connection.execute("ANALYZE analytics.usage_hourly")
    return org_id


@pytest.fixture
def start_export(
    crash_database: Database,
    busy_org: UUID,
    rabbitmq: RabbitMq,
    s3: ObjectStore,
    free_port: Callable[[], int],
    service_processes: ServiceProcesses,
) -> StartExport:
    """Starts a replica of the service; variables as keyword arguments."""

    def start(**variables: str) -> ExportApi:
        overrides = {"EXPORT_LEASE": "2s", "EXPORT_WORKER_INTERVAL": "200ms", **variables}
        env = environment(crash_database, rabbitmq, s3, free_port(), overrides)
        return ExportApi(service_processes.start("analytics-export", env), busy_org)

    return start
