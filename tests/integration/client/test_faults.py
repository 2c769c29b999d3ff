"""The publisher on connections that break: every event is confirmed in the end, or reported."""

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest

from analytics_client import BlockingUsagePublisher, NotConfirmed, UsagePublisher
from analytics_core.testing.builders import event_body
from tests.integration.client.conftest import MakeStream
from tests.support.fault_proxy import FaultProxy

FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "cut": FaultProxy.cut,
    "half-open": FaultProxy.freeze,
    "confirms lost": FaultProxy.swallow_answers,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_when_the_connection_breaks(
    fault: str, proxied_url: str, proxy: FaultProxy, make_stream: MakeStream
) -> None:
    """rstream drops frames on a dead connection without a word, and never hears of a frozen one."""
    stream = await make_stream()
    bodies = [event_body() for _ in range(30_000)]
    publisher = UsagePublisher(proxied_url, stream=stream.name, load_balanced=True, confirm_seconds=2)
    async with publisher:
        for chunk in (bodies[:10_000], bodies[10_000:20_000], bodies[20_000:]):
            await publisher.publish_confirmed([event_body()], 20)
            publishing = asyncio.create_task(publisher.publish_many(chunk))
            await asyncio.sleep(0.05)
            FAULTS[fault](proxy)
            await asyncio.wait_for(publishing, 60)
        await publisher.flush(60)

    assert set(await stream.bodies(30_000)) >= set(bodies)


async def test_a_full_buffer_holds_publishers_back_until_the_broker_is_back(
    proxied_url: str, proxy: FaultProxy, make_stream: MakeStream
) -> None:
    """Memory is bounded by waiting, not by dropping."""
    stream = await make_stream()
    proxy.refuse()
    bodies = [event_body() for _ in range(500)]
    publisher = UsagePublisher(proxied_url, stream=stream.name, load_balanced=True, buffer_events_max=100)
    async with publisher:
        publishing = asyncio.create_task(publisher.publish_many(bodies))
        done, _ = await asyncio.wait({publishing}, timeout=1)

        assert not done
        assert publisher.buffered == 100
        assert "127.0.0.1" in str(publisher.problem)

        proxy.accept()
        await asyncio.wait_for(publishing, 30)
        await publisher.flush(30)

        assert publisher.problem is None
    assert await stream.bodies(500) == bodies


async def test_closing_without_a_broker_reports_exactly_what_is_not_confirmed(
    proxied_url: str, proxy: FaultProxy, make_stream: MakeStream
) -> None:
    """What the report names can be published again; what it does not name is safe."""
    stream = await make_stream()
    confirmed, lost = [event_body() for _ in range(20)], [event_body() for _ in range(30)]
    publisher = UsagePublisher(proxied_url, stream=stream.name, load_balanced=True, close_seconds=1)
    await publisher.__aenter__()
    await publisher.publish_many(confirmed)
    await publisher.flush(10)
    proxy.refuse()
    await publisher.publish_many(lost)
    started = monotonic()
    with pytest.raises(NotConfirmed) as error:
        await publisher.__aexit__(None, None, None)

    assert error.value.bodies == lost
    assert monotonic() - started < 10
    assert await stream.bodies(20) == confirmed


async def test_an_error_in_the_block_keeps_its_place_and_the_loss_is_noted(
    proxied_url: str, proxy: FaultProxy, make_stream: MakeStream
) -> None:
    """The caller's own error explains more than ours; ours must not vanish behind it."""
    stream = await make_stream()
    proxy.refuse()

    async def fail() -> None:
        async with UsagePublisher(proxied_url, stream=stream.name, load_balanced=True, close_seconds=0.5) as publisher:
            await publisher.publish(event_body())
            raise KeyError("theirs")

    with pytest.raises(KeyError) as error:
        await fail()

    assert "1 events are not confirmed" in error.value.__notes__[0]


async def test_what_was_not_confirmed_in_time_is_not_sent_later(
    proxied_url: str, proxy: FaultProxy, make_stream: MakeStream
) -> None:
    """The caller was told that it failed and decides what happens next: a late arrival would be a surprise."""
    stream = await make_stream()
    proxy.refuse()
    async with UsagePublisher(proxied_url, stream=stream.name, load_balanced=True) as publisher:
        refused = [event_body() for _ in range(5)]
        with pytest.raises(NotConfirmed) as error:
            await publisher.publish_confirmed(refused, within_seconds=0.5)

        assert error.value.bodies == refused
        assert publisher.buffered == 0
        proxy.accept()
        later = event_body()
        await publisher.publish_confirmed([later], within_seconds=20)

    assert await stream.bodies(1) == [later]


async def test_a_confirmed_publish_reports_only_its_own_events(
    proxied_url: str, proxy: FaultProxy, make_stream: MakeStream
) -> None:
    """Others' events share the buffer, not the fate."""
    stream = await make_stream()
    proxy.refuse()
    async with UsagePublisher(proxied_url, stream=stream.name, load_balanced=True) as publisher:
        others, mine = [event_body()], [event_body()]
        await publisher.publish_many(others)
        with pytest.raises(NotConfirmed) as error:
            await publisher.publish_confirmed(mine, within_seconds=0.3)

        assert error.value.bodies == mine
        proxy.accept()
        await publisher.flush(20)

    assert await stream.bodies(1) == others


async def test_a_blocking_publisher_reports_on_leaving(
    proxied_url: str, proxy: FaultProxy, make_stream: MakeStream
) -> None:
    """The report crosses the thread."""
    stream = await make_stream()
    proxy.refuse()
    body = event_body()

    def publish() -> None:
        publisher = BlockingUsagePublisher(proxied_url, stream=stream.name, load_balanced=True, close_seconds=0.5)
        with publisher:
            publisher.publish(body)

    with pytest.raises(NotConfirmed) as error:
        await asyncio.to_thread(publish)

    assert error.value.bodies == [body]
