"""The bounded memory between `publish` and the broker's confirmation. Pure asyncio, no sockets."""

import asyncio
from collections import deque
from collections.abc import Iterable

from analytics_client.errors import PublisherClosed


class Delivery:
    """Events whose fate somebody waits for together."""

    __slots__ = ("_idle", "outstanding", "withdrawn")

    def __init__(self) -> None:
        self.outstanding = 0
        self.withdrawn = False
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self) -> None:
        """One more event is in the buffer."""
        self.outstanding += 1
        self._idle.clear()

    def settle(self) -> None:
        """One event has left the buffer, confirmed or taken back."""
        self.outstanding -= 1
        if not self.outstanding:
            self._idle.set()

    async def wait(self) -> None:
        """Return when no event of the delivery is in the buffer."""
        await self._idle.wait()


class Pending:
    """One event that is not confirmed yet."""

    __slots__ = ("body", "confirmed", "delivery", "sent_at", "traceparent")

    def __init__(self, body: bytes, delivery: Delivery, traceparent: str | None = None) -> None:
        self.body = body
        self.delivery = delivery
        self.traceparent = traceparent
        self.confirmed = False
        self.sent_at = 0.0


class Buffer:
    """Holds events until they are confirmed, the ones on their way to the broker included.

    `wait_for_room` holds callers back, in their order, while the events or their bytes reach the limit.
    """

    def __init__(self, events_max: int, bytes_max: int) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._open = False
        self._queue: deque[Pending] = deque()
        self._on_their_way: dict[Pending, None] = {}
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def queued(self) -> int:
        """Events that wait to be sent."""
        return len(self._queue)

    @property
    def held(self) -> int:
        """Events that are not confirmed."""
        return len(self._queue) + len(self._on_their_way)

    def bodies(self) -> list[bytes]:
        """What is not confirmed and not withdrawn, the oldest first."""
        return [pending.body for pending in (*self._on_their_way, *self._queue) if not pending.delivery.withdrawn]

    async def wait_for_room(self, size: int) -> None:
        """Return when an event of `size` bytes may be appended. Raises `PublisherClosed`."""
        if self._has_room(size) and not self._turn.locked():
            return
        async with self._turn:
            while not self._has_room(size):
                self._room.clear()
                await self._room.wait()

    def _has_room(self, size: int) -> bool:
        if not self._open:
            raise PublisherClosed("the publisher is not open")
        return self.held < self._events_max and self._bytes + size <= self._bytes_max

    def append(self, pending: Pending) -> None:
        """Take an event, right after `wait_for_room`."""
        self._bytes += len(pending.body)
        pending.delivery.add()
        self._queue.append(pending)
        self._filled.set()

    async def wait_filled(self) -> None:
        """Return when there may be something to `take`."""
        await self._filled.wait()

    def take(self, events_max: int, bytes_max: int) -> list[Pending]:
        """The oldest queued events within both limits, at least one if there is any; they keep their room."""
        batch: list[Pending] = []
        size = 0
        while self._queue and len(batch) < events_max:
            size += len(self._queue[0].body)
            if batch and size > bytes_max:
                break
            batch.append(self._queue.popleft())
        self._on_their_way.update(dict.fromkeys(batch))
        if not self._queue:
            self._filled.clear()
        return batch

    def put_back(self, batch: Iterable[Pending]) -> None:
        """Queue events again, first and in their order, because nobody knows whether they arrived."""
        for pending in reversed(list(batch)):
            if pending.delivery.withdrawn:
                self._release(pending)
            else:
                del self._on_their_way[pending]
                self._queue.appendleft(pending)
                self._filled.set()

    def confirm(self, pending: Pending) -> None:
        """The broker has the event."""
        pending.confirmed = True
        self._release(pending)

    def withdraw(self, delivery: Delivery) -> None:
        """Send no more of a delivery. What is on its way may still arrive and keeps its room until then."""
        delivery.withdrawn = True
        mine = [pending for pending in self._queue if pending.delivery is delivery]
        self._queue = deque(pending for pending in self._queue if pending.delivery is not delivery)
        for pending in mine:
            self._release(pending)

    def open(self) -> None:
        """Take events from now on."""
        self._open = True

    def close(self) -> None:
        """Take no more events; those who wait for room get `PublisherClosed`."""
        self._open = False
        self._room.set()

    async def wait_empty(self) -> None:
        """Return when everything is confirmed or withdrawn. Call `close` before, or it may never be."""
        while self.bodies():
            self._room.clear()
            await self._room.wait()

    def give_up(self) -> list[bytes]:
        """Forget everything that is not confirmed; returns the bodies."""
        bodies = self.bodies()
        for pending in (*self._on_their_way, *self._queue):
            self._release(pending)
        self._queue.clear()
        return bodies

    def _release(self, pending: Pending) -> None:
        self._on_their_way.pop(pending, None)
        self._bytes -= len(pending.body)
        pending.delivery.settle()
        self._room.set()
