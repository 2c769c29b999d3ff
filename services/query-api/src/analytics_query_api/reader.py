"""Admission to the database: a bounded number of requests reads, a bounded number waits, the others come back later."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncpg import QueryCanceledError

from analytics_core.clock import Clock
from analytics_core.database import ReadDatabase, ReadSession, Scope
from analytics_core.errors import Unavailable
from analytics_query_api.limits import WAITING_QUERIES_MAX, WAITING_SECONDS_MAX
from analytics_query_api.metrics import QUERIES_REFUSED, QUERIES_WAITING


class QueryTimeout(Unavailable):
    """The database gave up on a query; the same one again would take as long."""

    code, title = "query-timeout", "The query took too long"


class Reader:
    """Opens read sessions, at most `running_max` at a time. `clock` is the time that answers are given at."""

    def __init__(self, database: ReadDatabase, running_max: int, clock: Clock) -> None:
        self._database = database
        self.clock = clock
        self._slots = asyncio.Semaphore(running_max)
        self._waiting = 0

    @asynccontextmanager
    async def snapshot(self, scope: Scope) -> AsyncIterator[ReadSession]:
        """A read-only session over the scope's rows whose statements all see the same state.

        Raises `Unavailable` when too many wait already, or for too long, and `QueryTimeout`.
        """
        await self._admit()
        try:
            async with self._database.read(scope, repeatable=True) as session:
                yield session
        except QueryCanceledError:
            raise QueryTimeout("ask for a shorter range, fewer models or granularity=day") from None
        finally:
            self._slots.release()

    async def _admit(self) -> None:
        if self._waiting >= WAITING_QUERIES_MAX:
            raise _too_many()
        self._waiting += 1
        QUERIES_WAITING.set(self._waiting)
        try:
            async with asyncio.timeout(WAITING_SECONDS_MAX):
                await self._slots.acquire()
        except TimeoutError:
            raise _too_many() from None
        finally:
            self._waiting -= 1
            QUERIES_WAITING.set(self._waiting)


def _too_many() -> Unavailable:
    QUERIES_REFUSED.inc()
    return Unavailable("too many queries at the moment", retry_after_seconds=1)
