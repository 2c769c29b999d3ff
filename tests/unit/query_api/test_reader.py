"""Admission: who waits, who goes ahead, and who is told to come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import pytest

from analytics_core import clock
from analytics_core.access import OrgScope, scope_for_accepted_job
from analytics_core.errors import Unavailable
from analytics_query_api.limits import WAITING_PER_TENANT_MAX, WAITING_QUERIES_MAX
from analytics_query_api.reader import Reader


class Sessions:
    """Stands in for the pool: counts who is inside."""

    def __init__(self) -> None:
        self.inside: list[object] = []

    @asynccontextmanager
    async def read(self, scope: object, *, repeatable: bool) -> AsyncIterator[Any]:  # noqa: ARG002 — as the database has it
        self.inside.append(scope)
        yield None
        self.inside.remove(scope)


class Crowd:
    """Requests that stay inside until they are let go."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.reader = Reader(cast("Any", self.sessions), 4, clock.now)
        self.gate = asyncio.Event()

    async def ask(self, scope: OrgScope) -> None:
        async with self.reader.snapshot(scope):
            await self.gate.wait()


def tenant() -> OrgScope:
    return scope_for_accepted_job(uuid4())


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_organisation_leaves_half_of_the_connections_to_others() -> None:
    crowd, slow, other = Crowd(), tenant(), tenant()
    tasks = [asyncio.create_task(crowd.ask(scope)) for scope in [slow] * 10 + [other]]
    await settled()

    assert sorted(map(str, crowd.sessions.inside)) == sorted(map(str, [slow, slow, other]))
    crowd.gate.set()
    await asyncio.gather(*tasks)
    assert crowd.sessions.inside == []


async def test_one_organisation_cannot_take_all_places_to_wait() -> None:
    crowd, slow = Crowd(), tenant()
    tasks = [asyncio.create_task(crowd.ask(slow)) for _ in range(2 + WAITING_PER_TENANT_MAX)]
    await settled()

    with pytest.raises(Unavailable) as refused:
        await crowd.ask(slow)
    assert refused.value.retry_after_seconds == 1
    tasks.append(asyncio.create_task(crowd.ask(tenant())))
    crowd.gate.set()
    await asyncio.gather(*tasks)


async def test_all_together_wait_in_a_bounded_queue() -> None:
    crowd = Crowd()
    tasks = [asyncio.create_task(crowd.ask(tenant())) for _ in range(4 + WAITING_QUERIES_MAX)]
    await settled()

    with pytest.raises(Unavailable):
        await crowd.ask(tenant())
    crowd.gate.set()
    await asyncio.gather(*tasks)


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    """A caller that hangs up must not hold a connection's room for ever."""
    crowd, slow = Crowd(), tenant()
    inside = [asyncio.create_task(crowd.ask(slow)) for _ in range(2)]
    waiting = asyncio.create_task(crowd.ask(slow))
    await settled()
    waiting.cancel()
    crowd.gate.set()
    await asyncio.gather(*inside, waiting, return_exceptions=True)

    await asyncio.gather(*(crowd.ask(slow) for _ in range(10)))
    assert crowd.sessions.inside == []
