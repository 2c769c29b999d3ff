"""A broker that accepts a connection and then says nothing, as behind a half-open firewall: nobody waits for ever."""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import analytics_export.wakeups
import analytics_ingest.wakeups
import analytics_rollup.wakeups
from tests.support.fault_proxy import FaultProxy
from tests.support.stack import RabbitMq

PATIENCE_S = 30


@pytest.mark.parametrize(
    ("module", "wake_ups"),
    [
        (analytics_ingest.wakeups, analytics_ingest.wakeups.Wakeups),
        (analytics_rollup.wakeups, analytics_rollup.wakeups.WakeUps),
        (analytics_export.wakeups, analytics_export.wakeups.WakeUps),
    ],
    ids=["ingest", "rollup", "export"],
)
async def test_a_broker_that_hangs_is_found_when_it_works_again(
    rabbitmq: RabbitMq, monkeypatch: pytest.MonkeyPatch, module: ModuleType, wake_ups: Callable[[str], Any]
) -> None:
    """The connection that hung stays silent for good; only a new one gets through."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_SECONDS", 0.5)
    stop = asyncio.Event()
    async with FaultProxy.open(rabbitmq.host, rabbitmq.amqp_port) as proxy, asyncio.timeout(PATIENCE_S):
        proxy.stall()
        client = wake_ups(rabbitmq.amqp_url.replace(f":{rabbitmq.amqp_port}/", f":{proxy.port}/"))
        running = asyncio.create_task(client.run(stop))
        await proxy.stalled.wait()
        proxy.accept()

        await connected(client)

        stop.set()
        await running


async def connected(client: Any) -> None:
    while True:
        try:
            await client.check()
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return
