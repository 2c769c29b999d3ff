"""Publishes messages at their pace and fills the ledger with what the broker confirmed."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence

from analytics_client import NotConfirmed, UsagePublisher
from tools.replay.ledger import Ledger
from tools.replay.messages import Message
from tools.replay.pacing import BATCH_MESSAGES_MAX, Pace, batches
from tools.replay.stream import ensure_stream

IN_FLIGHT_BATCHES = 20
# A broker that is away for longer ends the replay.
GIVE_UP_S = 60.0
# After a request to stop, what is in flight gets so long to be confirmed.
STOP_PATIENCE_S = 10.0

AS_FAST_AS_POSSIBLE = Pace()


async def replay(
    messages: Iterable[Message],
    *,
    url: str,
    stream: str,
    seed: int | None = None,
    partitions: int = 1,
    pace: Pace = AS_FAST_AS_POSSIBLE,
    load_balanced: bool = False,
    stop: asyncio.Event | None = None,
    on_progress: Callable[[Ledger], None] = lambda _: None,
) -> Ledger:
    """Publish all messages, or those until `stop` is set; the ledger of what was confirmed.

    A connection that is lost on the way is made again, and what was unconfirmed sent again; it may be in the stream
    twice then, which ingest counts as duplicates. A broker that stays away ends the replay, and `ended_early` says so.
    Raises `StreamUnavailable` when it is away from the start.
    """
    ledger = Ledger(stream, seed)
    stop = stop or asyncio.Event()
    await ensure_stream(url, stream, partitions)
    started = time.monotonic()
    # The ledger knows what is unconfirmed; that the publisher says so once more, on its way out, adds nothing.
    with contextlib.suppress(NotConfirmed):
        async with UsagePublisher(
            url,
            stream=stream,
            buffer_events_max=IN_FLIGHT_BATCHES * BATCH_MESSAGES_MAX,
            close_seconds=1.0,
            load_balanced=load_balanced,
        ) as publisher:
            flight = _Flight(publisher, ledger, on_progress)
            ledger.ended_early = await _finish(flight.publish_all(messages, pace, stop), stop)
            flight.abandon()
    ledger.seconds = time.monotonic() - started
    on_progress(ledger)
    return ledger


class _Flight:
    """Several batches on their way at once; each counts when it is confirmed."""

    def __init__(self, publisher: UsagePublisher, ledger: Ledger, on_progress: Callable[[Ledger], None]) -> None:
        self._publisher = publisher
        self._ledger = ledger
        self._on_progress = on_progress
        self._airborne: set[asyncio.Task[None]] = set()

    async def publish_all(self, messages: Iterable[Message], pace: Pace, stop: asyncio.Event) -> None:
        """Returns when everything sent is confirmed; raises `NotConfirmed`."""
        started = time.monotonic()
        for batch in batches(messages, pace):
            await _sleep_until(started + batch.due_s, stop)
            if stop.is_set():
                break
            while len(self._airborne) >= IN_FLIGHT_BATCHES:
                await self._one_lands()
            self._ledger.unconfirmed += len(batch.messages)
            self._airborne.add(asyncio.create_task(self._publish(batch.messages)))
        while self._airborne:
            await self._one_lands()

    def abandon(self) -> None:
        """Give up what is still on its way; it stays unconfirmed."""
        for task in self._airborne:
            task.cancel()

    async def _one_lands(self) -> None:
        landed, self._airborne = await asyncio.wait(self._airborne, return_when=asyncio.FIRST_COMPLETED)
        for task in landed:
            task.result()

    async def _publish(self, batch: Sequence[Message]) -> None:
        try:
            await self._publisher.publish_confirmed([message.body for message in batch], GIVE_UP_S)
        except NotConfirmed as failure:
            missing = Counter(failure.bodies)
            self._count([message for message in batch if not _taken(missing, message.body)])
            raise
        self._count(batch)

    def _count(self, confirmed: Sequence[Message]) -> None:
        for message in confirmed:
            self._ledger.add(message)
        self._ledger.unconfirmed -= len(confirmed)
        self._on_progress(self._ledger)


def _taken(counts: Counter[bytes], body: bytes) -> bool:
    """Take one off the count of a body; False when there is none. (Duplicates have the same body.)"""
    counts[body] -= 1
    return counts[body] >= 0


async def _finish(publishing: Coroutine[None, None, None], stop: asyncio.Event) -> str | None:
    """Why publishing ended early, or None: it failed, or was stopped, with or without its last confirms."""
    work, stopping = asyncio.create_task(publishing), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=STOP_PATIENCE_S)
    finally:
        stopping.cancel()
        work.cancel()
    (failure,) = await asyncio.gather(work, return_exceptions=True)
    if isinstance(failure, NotConfirmed):
        return failure.problem or str(failure)
    if failure is not None and not isinstance(failure, asyncio.CancelledError):
        raise failure
    return "stopped" if stop.is_set() else None


async def _sleep_until(due: float, stop: asyncio.Event) -> None:
    delay = due - time.monotonic()
    if delay <= 0:
        # Lets confirms in while the broker keeps up with us.
        await asyncio.sleep(0)
        return
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), delay)
