"""Fixtures of ingest: places that no other test has written to."""

from collections.abc import AsyncIterator, Callable

import pytest

from analytics_core.database import WriteDatabase
from tests.integration.ingest.streaming import IngestStage
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, RabbitMq


@pytest.fixture
def stage(
    make_database: Callable[[], Database],
    make_rabbitmq: Callable[[], RabbitMq],
    service_processes: ServiceProcesses,
    free_port: Callable[[], int],
) -> IngestStage:
    """An empty database and an empty virtual host."""
    return IngestStage(make_database(), make_rabbitmq(), service_processes, free_port)


@pytest.fixture
async def ingest_database(stage: IngestStage) -> AsyncIterator[WriteDatabase]:
    """The stage's database, opened as ingest opens it, in the role of ingest."""
    async with WriteDatabase.open(stage.database.dsn("analytics_ingest"), application_name="t", pool_size=4) as opened:
        yield opened
