"""Live updates: changes are pushed, to everybody who may see them, and to nobody longer than that."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import websockets
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange

from analytics_core.messages import EXCHANGE, ROLLUP_COMPLETED
from tests.integration.query_api.numbers import Call, Numbers
from tests.support.callers import JWT_SECRET, bearer, token
from tests.support.processes import ServiceProcess, ServiceProcesses
from tests.support.stack import Database, RabbitMq

READ = "analytics:usage:read"
PATIENCE_S = 30


@pytest.fixture(scope="module")
def service(
    database: Database, redis_url: str, rabbitmq: RabbitMq, free_port: Callable[[], int]
) -> Iterator[ServiceProcess]:
    """The service as a real process: streams need a real server."""
    with ServiceProcesses() as processes:
        yield start(processes, database, redis_url, rabbitmq, free_port())


def start(
    processes: ServiceProcesses, database: Database, redis_url: str, rabbitmq: RabbitMq, port: int
) -> ServiceProcess:
    return processes.start(
        "analytics-query-api",
        {
            "ENVIRONMENT": "test",
            "HTTP_PORT": str(port),
            "DATABASE_URL": database.dsn("analytics_query_api"),
            "REDIS_URL": redis_url,
            "RABBITMQ_URL": rabbitmq.amqp_url,
            "AUTH_JWT_SECRET": JWT_SECRET,
        },
    )


@dataclass
class Listener:
    """An open stream; `message` waits for the next one that is no heartbeat."""

    response: httpx.Response
    lines: AsyncIterator[str]

    async def message(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            async for line in self.lines:
                if line.startswith("data: "):
                    found: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return found
        raise AssertionError("the stream ended")


@asynccontextmanager
async def listening(
    service: ServiceProcess, org_id: UUID, headers: dict[str, str] | None = None, **parameters: str
) -> AsyncIterator[Listener]:
    url = f"{service.url}/analytics/v1/orgs/{org_id}/usage/stream"
    mine = bearer(READ, orgs=[org_id]) | (headers or {})
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client,
        client.stream("GET", url, headers=mine, params=parameters) as response,
    ):
        yield Listener(response, response.aiter_lines())


async def announce(rabbitmq: RabbitMq, org_id: UUID) -> None:
    """What rollup says after a fold."""
    async with RabbitBroker(rabbitmq.amqp_url, logger=None) as broker:
        exchange = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)
        await broker.publish({"orgIds": [str(org_id)]}, exchange=exchange, routing_key=ROLLUP_COMPLETED)


def hour(ago: int = 0) -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=ago)


async def test_a_fold_is_pushed_to_who_listens(
    service: ServiceProcess, numbers: Numbers, rabbitmq: RabbitMq, org_id: UUID
) -> None:
    """First everything there is, then what has changed, each point as it is now."""
    numbers.fold(org_id, [Call(at=hour(1)), Call(at=hour(1), cost_microcents=2)])
    async with listening(service, org_id, groupBy="model") as listener:
        first = await listener.message()
        numbers.fold(org_id, [Call(at=hour(2), model_id="other")])
        await announce(rabbitmq, org_id)
        second = await listener.message()

    assert listener.response.headers["content-type"].startswith("text/event-stream")
    assert (first["reset"], [(p["modelId"], p["invocations"]) for p in first["points"]]) == (True, [("gpt-4o", 2)])
    assert first["points"][0]["costEstimateCents"] == 0.000003
    assert (second["reset"], [(p["modelId"], p["invocations"]) for p in second["points"]]) == (False, [("other", 1)])


async def test_who_comes_back_gets_what_has_changed_since(
    service: ServiceProcess, numbers: Numbers, rabbitmq: RabbitMq, org_id: UUID
) -> None:
    """With the latest id nothing is sent again, with an earlier one the difference, with an unknown one everything."""
    numbers.fold(org_id, [Call(at=hour(1))])
    async with listening(service, org_id, groupBy="model") as staying:
        first = await staying.message()
        numbers.fold(org_id, [Call(at=hour(2), model_id="other")])
        await announce(rabbitmq, org_id)
        second = await staying.message()
        async with listening(service, org_id, {"Last-Event-ID": first["id"]}, groupBy="model") as earlier:
            since_first = await earlier.message()
        async with listening(service, org_id, {"Last-Event-ID": "unknown"}, groupBy="model") as stranger:
            everything = await stranger.message()
        async with listening(service, org_id, groupBy="model", lastEventId=second["id"]) as latest:
            numbers.fold(org_id, [Call(at=hour(3), model_id="third")])
            await announce(rabbitmq, org_id)
            since_second = await latest.message()

    assert (since_first["id"], since_first["reset"], since_first["points"]) == (second["id"], False, second["points"])
    assert (everything["reset"], len(everything["points"])) == (True, 2)
    assert [point["modelId"] for point in since_second["points"]] == ["third"]


async def test_without_messages_it_is_polled(
    database: Database, redis_url: str, rabbitmq: RabbitMq, free_port: Callable[[], int], numbers: Numbers, org_id: UUID
) -> None:
    """A lost message costs latency and nothing else; a lost broker, too."""
    with ServiceProcesses() as processes:
        deaf = processes.start(
            "analytics-query-api",
            {
                "ENVIRONMENT": "test",
                "HTTP_PORT": str(free_port()),
                "DATABASE_URL": database.dsn("analytics_query_api"),
                "REDIS_URL": redis_url,
                "RABBITMQ_URL": "amqp://nobody@127.0.0.1:1/",
                "AUTH_JWT_SECRET": JWT_SECRET,
            },
        )
        async with listening(deaf, org_id) as listener:
            assert (await listener.message())["points"] == []
            numbers.fold(org_id, [Call(at=hour(1))])
            assert len((await listener.message())["points"]) == 1
            stopped = asyncio.create_task(asyncio.to_thread(deaf.stop))
            assert await listener.message() == {"type": "end", "reason": "stopping"}
            assert await stopped == 0


async def test_many_listeners_of_a_question_share_its_query(
    service: ServiceProcess, numbers: Numbers, rabbitmq: RabbitMq, org_id: UUID
) -> None:
    """A dashboard on fifty screens is one query a fold."""
    numbers.fold(org_id, [Call(at=hour(1))])
    async with AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(
                listening(service, org_id, screen(org_id, number), start=hour(5).isoformat())
            )
            for number in range(50)
        ]
        await asyncio.gather(*(listener.message() for listener in listeners))
        before = await reads(service)
        numbers.fold(org_id, [Call(at=hour(2), model_id="other")])
        await announce(rabbitmq, org_id)
        changes = await asyncio.gather(*(listener.message() for listener in listeners))
        after = await reads(service)

    assert {len(change["points"]) for change in changes} == {1}
    assert after - before <= 5


def screen(org_id: UUID, number: int) -> dict[str, str]:
    return bearer(READ, orgs=[org_id], subject=f"screen-{number}")


async def reads(service: ServiceProcess) -> float:
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{service.url}/metrics")).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("analytics_live_reads_total "))


async def test_it_ends_when_the_token_does(service: ServiceProcess, org_id: UUID) -> None:
    """A stream is not a way to see on after the permission is gone."""
    # 30 s of leeway between clocks let it in; a stream has none.
    soon = {"Authorization": f"Bearer {token(READ, orgs=[org_id], exp=datetime.now(UTC) + timedelta(seconds=3))}"}
    async with listening(service, org_id, soon) as listener:
        await listener.message()
        assert await listener.message() == {"type": "end", "reason": "expired"}


async def test_one_caller_cannot_take_all_streams(service: ServiceProcess, org_id: UUID) -> None:
    """The eleventh is refused, somebody else's first is not, and a closed one is free again."""
    greedy = bearer(READ, orgs=[org_id], subject=f"greedy-{uuid4()}")
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(listening(service, org_id, greedy)) for _ in range(10)]
        async with listening(service, org_id, greedy) as refused, listening(service, org_id) as other:
            statuses = {listener.response.status_code for listener in opened}
            assert (statuses, refused.response.status_code, other.response.status_code) == ({200}, 429, 200)
            assert refused.response.headers["retry-after"] == "30"

    deadline = time.monotonic() + PATIENCE_S
    while True:
        async with listening(service, org_id, greedy) as again:
            if again.response.status_code == 200:
                break
        assert time.monotonic() < deadline


async def test_a_websocket_is_sent_the_same(
    service: ServiceProcess, numbers: Numbers, rabbitmq: RabbitMq, org_id: UUID
) -> None:
    """The same messages, and an end with a code of the protocol."""
    numbers.fold(org_id, [Call(at=hour(1))])
    url = f"{service.url.replace('http', 'ws')}/analytics/v1/orgs/{org_id}/usage/stream?groupBy=model"
    headers = {"Authorization": f"Bearer {token(READ, orgs=[org_id], exp=datetime.now(UTC) + timedelta(seconds=8))}"}
    async with websockets.connect(url, additional_headers=headers, proxy=None) as socket, asyncio.timeout(PATIENCE_S):
        first = json.loads(await socket.recv())
        numbers.fold(org_id, [Call(at=hour(2), model_id="other")])
        await announce(rabbitmq, org_id)
        second = json.loads(await socket.recv())
        last = json.loads(await socket.recv())
        await socket.wait_closed()

    assert (first["type"], first["reset"], len(first["points"])) == ("usage", True, 1)
    assert [point["modelId"] for point in second["points"]] == ["other"]
    assert (last, socket.close_code) == ({"type": "end", "reason": "expired"}, 1008)


@pytest.mark.parametrize("headers", [{}, bearer(READ, orgs=[UUID(int=7)]), bearer("analytics:exports:read")])
async def test_a_websocket_without_permission_is_refused(
    service: ServiceProcess, database: Database, org_id: UUID, headers: dict[str, str]
) -> None:
    """Before it is accepted."""
    url = f"{service.url.replace('http', 'ws')}/analytics/v1/orgs/{org_id}/usage/stream"
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(url, additional_headers=headers, proxy=None)

    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"start": "2000-01-01T00:00:00Z"}, "start"),
        ({"start": "x"}, "start"),
        ({"granularity": "month"}, "granularity"),
        ({"timezone": "Mars"}, "timezone"),
        ({"groupBy": "region"}, "groupBy"),
        ({"groupBy": "actor,client"}, "groupBy"),
        ({"groupBy": "client", "timezone": "Asia/Kolkata"}, "groupBy"),
        ({"actorId": "a", "timezone": "Asia/Kolkata"}, "timezone"),
        ({"modelId": ""}, "modelId"),
        ({"status": "ok"}, "status"),
        ({"model": "x"}, "model"),
    ],
)
async def test_a_wrong_parameter_is_named(
    service: ServiceProcess, org_id: UUID, parameters: dict[str, str], field: str
) -> None:
    """Before the stream begins, as everywhere."""
    async with listening(service, org_id, None, **parameters) as refused:
        body = json.loads(await refused.response.aread())

    assert (refused.response.status_code, body["errors"][0]["field"]) == (422, field)
