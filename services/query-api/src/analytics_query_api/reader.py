"""Admission to the database: a bounded number of requests reads, a bounded number waits, the others come back later.

One tenant may take half of the connections and a quarter of the places to wait, so that a slow or busy one cannot keep
the others out.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from asyncpg import QueryCanceledError

from analytics_core.access import OrgScope, PlatformScope
from analytics_core.clock import Clock
from analytics_core.database import CONTENDED, ReadDatabase, ReadSession
from analytics_core.errors import Unavailable
from analytics_query_api.limits import (
    TENANT_SHARE,
    WAITING_PER_TENANT_MAX,
    WAITING_QUERIES_MAX,
    WAITING_SECONDS_MAX,
)
from analytics_query_api.metrics import QUERIES_REFUSED, QUERIES_WAITING
from analytics_query_api.queries.freshness import link_to_last_fold

Tenant = UUID | None
"""An organisation; None for questions across all of them."""


class QueryTimeout(Unavailable):
    """The database gave up on a query; the same one again would take as long."""

    code, title = "query-timeout", "The query took too long"


class Reader:
    """Opens read sessions, at most `running_max` at a time. `clock` is the time that answers are given at."""

    def __init__(self, database: ReadDatabase, running_max: int, clock: Clock) -> None:
        self._database = database
        self.clock = clock
        self._running_max = running_max
        self._per_tenant_max = max(1, int(running_max * TENANT_SHARE))
        self._running: Counter[Tenant] = Counter()
        self._waiting: dict[asyncio.Future[None], Tenant] = {}
        """In the order of arrival."""

    @asynccontextmanager
    async def snapshot(self, scope: OrgScope | PlatformScope) -> AsyncIterator[ReadSession]:
        """A read-only session over the scope's rows whose statements all see the same state.

        Raises `Unavailable` when too many wait already or for too long, or others were in the way, and `QueryTimeout`.
        """
        tenant = scope.org_id if isinstance(scope, OrgScope) else None
        await self._admit(tenant)
        try:
            async with self._database.read(scope, repeatable=True) as session:
                if isinstance(scope, OrgScope):
                    await link_to_last_fold(session, scope)
                yield session
        except QueryCanceledError:
            raise QueryTimeout("ask for a shorter range, fewer groups or granularity=day") from None
        except CONTENDED:
            # A replica, for example, cancels what stands in the way of what it has to replay.
            raise Unavailable("the database could not finish the query", retry_after_seconds=1) from None
        finally:
            self._running[tenant] -= 1
            self._wake()

    async def _admit(self, tenant: Tenant) -> None:
        """Return with a connection's worth of room taken for the tenant."""
        if self._has_room(tenant):
            self._running[tenant] += 1
            return
        behind = list(self._waiting.values())
        if len(behind) >= WAITING_QUERIES_MAX or behind.count(tenant) >= WAITING_PER_TENANT_MAX:
            raise _too_many()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = tenant
        QUERIES_WAITING.set(len(self._waiting))
        try:
            async with asyncio.timeout(WAITING_SECONDS_MAX):
                await turn
        except BaseException as error:
            # The turn may have come in the same moment: then the room goes to the next one.
            if turn.done() and not turn.cancelled():
                self._running[tenant] -= 1
                self._wake()
            if isinstance(error, TimeoutError):
                raise _too_many() from None
            raise
        finally:
            self._waiting.pop(turn, None)
            QUERIES_WAITING.set(len(self._waiting))

    def _has_room(self, tenant: Tenant) -> bool:
        return self._running.total() < self._running_max and self._running[tenant] < self._per_tenant_max

    def _wake(self) -> None:
        """Give free room to those who wait, in their order, past those whose tenant has its share already."""
        self._running += Counter()
        for turn, tenant in list(self._waiting.items()):
            if self._has_room(tenant) and not turn.done():
                self._running[tenant] += 1
                del self._waiting[turn]
                turn.set_result(None)


def _too_many() -> Unavailable:
    QUERIES_REFUSED.inc()
    return Unavailable("too many queries at the moment", retry_after_seconds=1)
