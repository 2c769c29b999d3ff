"""The probe application on the session's database."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from analytics_core.database import WriteDatabase
from tests.integration.http_core.probe import Probe, open_probe
from tests.support.stack import Database

AuditRows = Callable[[str], list[tuple[Any, ...]]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def audit_database(database: Database) -> AsyncIterator[WriteDatabase]:
    """As a role that may append to the audit log and not change it."""
    dsn = database.dsn("analytics_query_api")
    async with WriteDatabase.open(dsn, application_name="probe", pool_size=2) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def probe(audit_database: WriteDatabase) -> AsyncIterator[Probe]:
    """With bearer tokens."""
    async with open_probe(audit_database) as running:
        yield running


@pytest.fixture
def org_id() -> UUID:
    """An organisation that no other test has."""
    return uuid4()


@pytest.fixture
def audit_rows(database: Database) -> AuditRows:
    """What the trail says of a request: subject, roles, decision, reason, method, path."""

    def read(request_id: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(database.owner_dsn) as connection:
            return connection.execute(
                "SELECT subject, roles, decision, reason, method, path FROM analytics.audit_log WHERE request_id = %s",
                (request_id,),
            ).fetchall()

    return read
