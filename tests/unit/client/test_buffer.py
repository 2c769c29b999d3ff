"""The bounded buffer between `publish` and the broker."""

import asyncio

import pytest

from analytics_client import PublisherClosed
from analytics_client.buffer import Buffer, Delivery, Pending


def _buffer(events_max: int = 3, bytes_max: int = 1_000) -> Buffer:
    buffer = Buffer(events_max, bytes_max)
    buffer.open()
    return buffer


async def _put(buffer: Buffer, body: bytes, delivery: Delivery | None = None) -> Pending:
    await buffer.wait_for_room(len(body))
    pending = Pending(body, delivery or Delivery())
    buffer.append(pending)
    return pending


async def test_a_full_buffer_holds_callers_back_until_a_confirm() -> None:
    """Being taken for sending frees no room: those bytes are in memory until the broker has them."""
    buffer = _buffer(events_max=2)
    first, _ = [await _put(buffer, b"x") for _ in range(2)]
    waiting = asyncio.create_task(_put(buffer, b"y"))
    buffer.take(10, 1_000)
    await asyncio.sleep(0)

    assert not waiting.done()

    buffer.confirm(first)
    await waiting

    assert (buffer.held, buffer.queued) == (2, 1)


async def test_bytes_are_limited_too() -> None:
    """A few large events take as much memory as many small ones."""
    buffer = _buffer(bytes_max=10)
    first = await _put(buffer, b"12345678")
    waiting = asyncio.create_task(_put(buffer, b"123"))
    await asyncio.sleep(0)

    assert not waiting.done()

    buffer.take(1, 10)
    buffer.confirm(first)
    await waiting


async def test_callers_get_room_in_the_order_in_which_they_came() -> None:
    """A large event must not starve behind small ones that always fit."""
    buffer = _buffer(events_max=100, bytes_max=10)
    first = await _put(buffer, b"123456")
    large = asyncio.create_task(_put(buffer, b"123456789"))
    await asyncio.sleep(0)
    small = asyncio.create_task(_put(buffer, b"1"))
    await asyncio.sleep(0)

    assert not small.done()

    buffer.take(1, 10)
    buffer.confirm(first)
    await asyncio.gather(large, small)


async def test_a_cancelled_caller_leaves_the_queue() -> None:
    """A request that timed out must not block the ones behind it."""
    buffer = _buffer(events_max=1)
    first = await _put(buffer, b"1")
    gone, next_one = (asyncio.create_task(_put(buffer, body)) for body in (b"2", b"3"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    buffer.take(1, 10)
    buffer.confirm(first)

    assert (await next_one).body == b"3"
    assert buffer.bodies() == [b"3"]


async def test_a_batch_respects_both_limits_and_is_never_empty() -> None:
    """A single event over the byte limit still has to be sent."""
    buffer = _buffer(events_max=10)
    for body in (b"123", b"456", b"789012345", b"1"):
        await _put(buffer, body)

    batches = [[pending.body for pending in buffer.take(2, 6)] for _ in range(4)]

    assert batches == [[b"123", b"456"], [b"789012345"], [b"1"], []]


async def test_what_is_put_back_comes_first_and_in_its_order() -> None:
    """The oldest events have waited longest."""
    buffer = _buffer(events_max=10)
    for body in (b"1", b"2", b"3"):
        await _put(buffer, body)
    taken = buffer.take(2, 100)
    buffer.put_back(taken)

    assert [pending.body for pending in buffer.take(10, 100)] == [b"1", b"2", b"3"]


async def test_a_delivery_is_done_when_all_its_events_are() -> None:
    """Others' confirms do not count."""
    buffer = _buffer(events_max=10)
    delivery = Delivery()
    mine = [await _put(buffer, b"m", delivery) for _ in range(2)]
    other = await _put(buffer, b"o")
    waiting = asyncio.create_task(delivery.wait())
    buffer.take(10, 100)
    for pending in (other, mine[0]):
        buffer.confirm(pending)
        await asyncio.sleep(0)

        assert not waiting.done()

    buffer.confirm(mine[1])
    await waiting


async def test_a_withdrawn_delivery_frees_its_room_and_is_not_put_back() -> None:
    """Nobody waits for those events any more; sending them later would surprise."""
    buffer = _buffer(events_max=3)
    delivery = Delivery()
    for _ in range(2):
        await _put(buffer, b"m", delivery)
    other = await _put(buffer, b"o")
    on_its_way = buffer.take(1, 100)
    buffer.withdraw(delivery)

    assert (buffer.held, buffer.queued) == (2, 1)

    buffer.put_back(on_its_way)

    assert buffer.bodies() == [other.body]
    assert delivery.outstanding == 0


async def test_a_withdrawn_delivery_is_nobodys_loss() -> None:
    """Its caller has been told already; closing neither waits for it nor reports it again."""
    buffer = _buffer()
    delivery = Delivery()
    await _put(buffer, b"m", delivery)
    buffer.take(1, 100)
    buffer.withdraw(delivery)
    buffer.close()

    await asyncio.wait_for(buffer.wait_empty(), 1)
    assert buffer.give_up() == []


async def test_closing_wakes_those_who_wait_for_room() -> None:
    """Their events are not in the buffer: they have to hear of it."""
    buffer = _buffer(events_max=1)
    await _put(buffer, b"1")
    waiting = [asyncio.create_task(_put(buffer, b"2")) for _ in range(2)]
    await asyncio.sleep(0)
    buffer.close()

    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, PublisherClosed)


async def test_giving_up_names_everything_that_is_not_confirmed() -> None:
    """On its way is not confirmed."""
    buffer = _buffer(events_max=10)
    delivery = Delivery()
    pending = [await _put(buffer, body, delivery) for body in (b"1", b"2", b"3")]
    buffer.take(2, 100)
    buffer.confirm(pending[0])

    assert buffer.give_up() == [b"2", b"3"]
    assert buffer.held == 0
    assert delivery.outstanding == 0


def test_a_buffer_takes_nothing_before_it_is_opened() -> None:
    """An event published outside of the block would never be sent."""
    with pytest.raises(PublisherClosed):
        asyncio.run(Buffer(1, 1).wait_for_room(1))
