"""From a committed batch to those who watch: the real fold, the real messages, both kinds of stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import websockets

from tests.support.batches import Batch, StoredEvent, store
from tests.support.callers import JWT_SECRET, bearer
from tests.support.processes import ServiceProcess, ServiceProcesses
from tests.support.stack import Database, RabbitMq

PATIENCE_S = 60
# Errors of one project by model and client: what no rollup by model knows.
QUESTION: list[tuple[str, str | int | float | bool | None]] = [
    ("groupBy", "model,client"),
    ("status", "error"),
    ("status", "timeout"),
    ("project", "checkout"),
]


@dataclass(frozen=True)
class Stage:
    """A rollup and a query API at work on a database of their own."""

    database: Database
    api: ServiceProcess

    def commit(self, *events: StoredEvent) -> None:
        """As ingest commits a batch."""
        store(self.database.dsn("analytics_ingest"), [Batch(events)])


@pytest.fixture(scope="module")
def stage(
    make_database: Callable[..., Database],
    make_rabbitmq: Callable[[], RabbitMq],
    redis_url: str,
    free_port: Callable[[], int],
) -> Iterator[Stage]:
    place, rabbitmq = make_database(), make_rabbitmq()
    common = {"ENVIRONMENT": "test", "RABBITMQ_URL": rabbitmq.amqp_url}
    with ServiceProcesses() as processes:
        processes.start(
            "analytics-rollup",
            common | {"HTTP_PORT": str(free_port()), "DATABASE_URL": place.dsn("analytics_rollup")},
        )
        api = processes.start(
            "analytics-query-api",
            common
            | {
                "HTTP_PORT": str(free_port()),
                "DATABASE_URL": place.dsn("analytics_query_api"),
                "REDIS_URL": redis_url,
                "AUTH_JWT_SECRET": JWT_SECRET,
            },
        )
        yield Stage(place, api)


@asynccontextmanager
async def server_sent(stage: Stage, path: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client,
        client.stream("GET", f"{stage.api.url}{path}", headers=bearer("admin")) as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        yield (json.loads(line.removeprefix("data: ")) async for line in lines if line.startswith("data: "))


@asynccontextmanager
async def web_socket(stage: Stage, path: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    url = f"{stage.api.url.replace('http', 'ws')}{path}"
    async with websockets.connect(url, additional_headers=bearer("admin"), proxy=None) as socket:
        yield (json.loads(text) async for text in socket)


@pytest.mark.parametrize("listening", [server_sent, web_socket])
async def test_each_commit_is_pushed_in_order_as_the_usage_api_has_it(
    stage: Stage, listening: Any, org_id: UUID
) -> None:
    """A bucket that changes is sent whole again, nothing else is; what the filters leave out is not sent at all."""
    now = datetime.now(UTC)
    failed = StoredEvent(now - timedelta(hours=3), org_id, status="error", client_id="key-1", project="checkout")
    later = replace(failed, occurred_at=now - timedelta(hours=1), client_id=None, status="timeout")
    ignored = [replace(failed, status="success"), replace(failed, project="search")]
    path = f"/analytics/v1/orgs/{org_id}/usage"
    async with (
        listening(stage, f"{path}/stream?{httpx.QueryParams(QUESTION)}") as messages,
        asyncio.timeout(PATIENCE_S),
    ):
        begin = await anext(messages)
        stage.commit(failed, *ignored)
        first = await anext(messages)
        stage.commit(*ignored)
        stage.commit(replace(failed, cost_microcents=1), *ignored)
        second = await anext(messages)
        stage.commit(later)
        third = await anext(messages)

    assert (begin["reset"], begin["points"]) == (True, [])
    pushed = [first, second, third]
    assert [message["reset"] for message in pushed] == [False] * 3
    assert [[told(point) for point in message["points"]] for message in pushed] == [
        [("gpt-4o", "key-1", 1, 1, 0.125)],
        [("gpt-4o", "key-1", 2, 2, 0.125001)],
        [("gpt-4o", None, 1, 0, 0.125)],
    ]
    window = [("start", (now - timedelta(days=1)).isoformat()), ("end", (now + timedelta(hours=1)).isoformat())]
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{stage.api.url}{path}", params=[*QUESTION, *window], headers=bearer("admin"))
    assert second["points"] + third["points"] == answer.json()["series"]


def told(point: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(point[name] for name in ("modelId", "clientId", "invocations", "errorCount", "costEstimateCents"))
