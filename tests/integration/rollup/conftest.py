"""A database of its own for each test that looks at all rows, and a rollup pool with the service's own rights."""

from collections.abc import AsyncIterator, Callable

import pytest

from analytics_core.database import WriteDatabase
from tests.support.stack import Database


@pytest.fixture
def place(make_database: Callable[..., Database]) -> Database:
    """A migrated database without rows."""
    return make_database()


@pytest.fixture
async def rollup_database(place: Database) -> AsyncIterator[WriteDatabase]:
    """The pool of `place` as analytics_rollup."""
    async with WriteDatabase.open(place.dsn("analytics_rollup"), application_name="test", pool_size=4) as database:
        yield database
