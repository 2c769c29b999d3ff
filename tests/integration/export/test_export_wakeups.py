"""The broker's comings and goings: wake-ups stop and come back, nothing else notices."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from uuid import uuid4

import pytest

from analytics_core.messages import ExportRequested
from analytics_export.wakeups import WakeUps
from tests.support.fault_proxy import FaultProxy
from tests.support.stack import RabbitMq

PATIENCE_S = 45


@asynccontextmanager
async def running(url: str) -> AsyncIterator[WakeUps]:
    """Wake-ups as one process has them."""
    stop = asyncio.Event()
    wakeups = WakeUps(url)
    task = asyncio.create_task(wakeups.run(stop))
    try:
        yield wakeups
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE_S)


async def connected(*processes: WakeUps) -> None:
    deadline = monotonic() + PATIENCE_S
    for wakeups in processes:
        while True:
            try:
                await wakeups.check()
                break
            except ConnectionError:
                assert monotonic() < deadline, f"not connected after {PATIENCE_S} s"
                await asyncio.sleep(0.05)


async def assert_one_wakes_the_other(one: WakeUps, other: WakeUps) -> None:
    """A consumer comes back a moment after its connection, so the request is repeated until it is heard."""
    other.requested.clear()
    deadline = monotonic() + PATIENCE_S
    while not other.requested.is_set():
        assert monotonic() < deadline, f"no wake-up within {PATIENCE_S} s"
        one.announce_request(ExportRequested(job_id=uuid4()))
        await asyncio.sleep(0.1)


def proxied(rabbitmq: RabbitMq, port: int) -> str:
    return rabbitmq.amqp_url.replace(f":{rabbitmq.amqp_port}/", f":{port}/")


async def test_every_process_hears_of_a_request(rabbitmq: RabbitMq) -> None:
    """One queue for all would wake one replica, which may be the busy one."""
    async with (
        running(rabbitmq.amqp_url) as one,
        running(rabbitmq.amqp_url) as second,
        running(rabbitmq.amqp_url) as third,
    ):
        await connected(one, second, third)

        await assert_one_wakes_the_other(one, second)
        await assert_one_wakes_the_other(one, third)


async def test_a_broker_that_comes_later_is_found(rabbitmq: RabbitMq) -> None:
    """The order in which a cluster starts is nobody's business."""
    async with FaultProxy.open(rabbitmq.host, rabbitmq.amqp_port) as proxy:
        proxy.refuse()
        async with running(proxied(rabbitmq, proxy.port)) as late, running(rabbitmq.amqp_url) as other:
            await connected(other)
            with pytest.raises(ConnectionError):
                await late.check()
            proxy.accept()

            await connected(late)
            await assert_one_wakes_the_other(other, late)
            await assert_one_wakes_the_other(late, other)


async def test_wake_ups_come_back_after_a_lost_connection(rabbitmq: RabbitMq) -> None:
    """A broker that restarts must not cost every replica its wake-ups until it is restarted, too."""
    async with (
        FaultProxy.open(rabbitmq.host, rabbitmq.amqp_port) as proxy,
        running(proxied(rabbitmq, proxy.port)) as cut,
        running(rabbitmq.amqp_url) as other,
    ):
        await connected(cut, other)
        proxy.cut()

        await assert_one_wakes_the_other(other, cut)
        await assert_one_wakes_the_other(cut, other)


async def test_nobody_waits_for_a_broker_that_is_away() -> None:
    """Not even when more is announced than is kept."""
    async with running("amqp://nobody:nothing@127.0.0.1:9/none") as wakeups:
        for _ in range(5_000):
            wakeups.announce_request(ExportRequested(job_id=uuid4()))

        assert wakeups.requested.is_set()
