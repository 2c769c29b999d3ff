"""The query API in this process, on the session's real PostgreSQL, Redis and RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from analytics_core.http.app import API_PREFIX, with_edge
from analytics_query_api.settings import Settings
from analytics_query_api.wiring import Resources, open_resources
from tests.integration.query_api.numbers import NOW, Numbers
from tests.support.callers import JWT_SECRET, bearer
from tests.support.stack import Database, RabbitMq


class HeldClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Api:
    """A running API and its clock. Calls are the platform administrator's unless they bring headers."""

    client: httpx.AsyncClient
    resources: Resources
    clock: HeldClock

    async def get(self, path: str, *, headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
        return await self.client.get(
            f"{API_PREFIX}{path}", params=parameters, headers=bearer("admin") if headers is None else headers
        )


OpenApi = Callable[..., AbstractAsyncContextManager[Api]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def open_api(database: Database, redis_url: str, rabbitmq: RabbitMq) -> OpenApi:
    """Opens the API with other settings than the usual ones."""

    @asynccontextmanager
    async def opened(*, hears_of_folds: bool = False, **changes: Any) -> AsyncIterator[Api]:
        settings = Settings(
            **{
                "environment": "test",
                "database_url": database.dsn("analytics_query_api"),
                "redis_url": redis_url,
                "rabbitmq_url": rabbitmq.amqp_url,
                "auth_jwt_secret": JWT_SECRET,
                **changes,
            }
        )
        clock, stop = HeldClock(), asyncio.Event()
        async with open_resources(settings, clock) as resources:
            jobs = [asyncio.create_task(resources.audit.run())]
            if hears_of_folds:
                jobs.append(asyncio.create_task(resources.folds.run(stop)))
            transport = httpx.ASGITransport(with_edge(resources.app), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://api.test", timeout=30) as client:
                yield Api(client, resources, clock)
            stop.set()
            await asyncio.wait(jobs[1:], timeout=10) if jobs[1:] else None
            jobs[0].cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    return opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def api(open_api: OpenApi) -> AsyncIterator[Api]:
    """The API as most tests want it."""
    async with open_api() as running:
        yield running


@pytest.fixture(scope="session")
def numbers(database: Database) -> Iterator[Numbers]:
    """Writes the rollups of the session's database."""
    writer = Numbers(database)
    writer.set_watermark(NOW)
    yield writer
    writer.close()


@pytest.fixture
def org_id() -> UUID:
    """An organisation that no other test has."""
    return uuid4()
