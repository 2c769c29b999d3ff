"""A database full of usage, and services that a test may kill."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from tests.integration.export.running import HOURS_OF_MARCH, ExportApi, environment, fill_march
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

MODELS = 270
ROWS = HOURS_OF_MARCH * MODELS
StartExport = Callable[..., ExportApi]


@pytest.fixture(scope="module")
def crash_database(make_database: Callable[..., Database]) -> Database:
    """A queue that no other test's workers serve."""
    return make_database()


@pytest.fixture(scope="module")
def busy_org(crash_database: Database) -> UUID:
    """An organisation with 200,880 hourly rows in March 2026: a file of 27 MB, four parts."""
    org_id = uuid4()
    fill_march(crash_database, org_id, MODELS)
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
