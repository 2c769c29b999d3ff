"""Fixtures of ingest: places that no other test has written to."""

from collections.abc import AsyncIterator, Callable

import pytest

from analytics_core.database import WriteDatabase
from tests.integration.ingest.streaming import IngestStage, Tables
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


@pytest.fixture(scope="module")
def module_database(make_database: Callable[[], Database]) -> Database:
    """One database for the tests of a module that empty it."""
    return make_database()


@pytest.fixture
def tables(module_database: Database) -> Tables:
    """Empty tables, without a broker."""
    tables = Tables(module_database)
    tables.empty()
    return tables


@pytest.fixture
async def ingest_database(tables: Tables) -> AsyncIterator[WriteDatabase]:
    """The tables' database, opened as ingest opens it, in the role of ingest."""
    async with WriteDatabase.open(tables.database.dsn("analytics_ingest"), application_name="t", pool_size=4) as opened:
        yield opened
