"""Publishes usage events to the stream; every event is confirmed by the broker, or reported as not confirmed."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from analytics_client.address import parse_address
from analytics_client.buffer import Buffer, Delivery, Pending
from analytics_client.errors import NotConfirmed
from analytics_client.event import EVENT_BYTES_MAX, UsageEvent, encode_event
from analytics_client.link import Link, find_partitions, open_link
from analytics_client.pause import Pauses

STREAM = "analytics.usage.v1"
# One chunk of the stream; larger ones bring nothing, chunks below 100 events slow every reader down.
BATCH_EVENTS_MAX = 1_000
BATCH_BYTES_MAX = 512 * 1024

log = logging.getLogger("analytics_client")


class UsagePublisher:
    """An open publisher between `async with`. Use it from one event loop, from as many tasks as you like.

    - `publish` returns when the event is in the buffer and waits while the buffer is full; `flush` returns when
      everything published before is confirmed. Leaving the block flushes, too.
    - An event is sent again, over a new connection if need be, until the broker confirms it. It may then be in the
      stream twice; the service counts it once, by its event id. The order of events is not kept.
    - A super stream is recognised; its partitions share the buffer, so that one that is away holds nothing up.
    - Nothing is written to disk: what is in the buffer when the process dies is lost.
    """

    def __init__(
        self,
        url: str,
        *,
        stream: str = STREAM,
        buffer_events_max: int = 10_000,
        buffer_bytes_max: int = 16 * 1024 * 1024,
        linger_seconds: float = 0.005,
        confirm_seconds: float = 10.0,
        close_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
        load_balanced: bool = False,
        traceparent: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Raises `ValueError` for a wrong URL or limit; connects only in `async with`.

        `linger_seconds`: how long an event waits for others to share a batch with. `confirm_seconds`: how long a sent
        event may be unconfirmed before its connection is given up. `close_seconds`: how long leaving the block waits.
        `traceparent`: asked at each publish for the W3C trace context that the event continues; None is none.
        """
        if buffer_events_max < 1 or buffer_bytes_max < EVENT_BYTES_MAX:
            raise ValueError(f"the buffer must hold at least one event of {EVENT_BYTES_MAX} bytes")
        self._address = parse_address(url, tls=tls, load_balanced=load_balanced)
        self._stream = stream
        self._linger_seconds = linger_seconds
        self._confirm_seconds = confirm_seconds
        self._close_seconds = close_seconds
        self._traceparent = traceparent
        self._buffer = Buffer(buffer_events_max, buffer_bytes_max)
        self._current = Delivery()
        self._earlier: list[Delivery] = []
        self._problem: str | None = None
        self._turn = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why events cannot be published at the moment, for a person; None while they can."""
        return self._problem

    @property
    def buffered(self) -> int:
        """Events that are not confirmed yet."""
        return self._buffer.held

    async def __aenter__(self) -> Self:
        self._buffer.open()
        self._problem = f"{self._address}: not connected yet"
        self._running = asyncio.create_task(self._run(), name="analytics-client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except NotConfirmed as unconfirmed:
            if error is None:
                raise
            log.error("%s", unconfirmed)  # noqa: TRY400 — the stack is that of the error on its way out
            error.add_note(f"analytics_client: {unconfirmed}")

    async def publish(self, event: UsageEvent | bytes) -> None:
        """Put one event into the buffer, waiting while there is no room; bytes are an encoded event.

        Raises `InvalidEvent` for more than 65,536 bytes and `PublisherClosed`. Cancelled, it has not taken the event.
        """
        body = encode_event(event)
        await self._buffer.wait_for_room(len(body))
        self._buffer.append(Pending(body, self._current, self._traceparent()))

    async def publish_many(self, events: Iterable[UsageEvent | bytes]) -> None:
        """`publish` for each, in turn; also for more events than the buffer holds."""
        for event in events:
            await self.publish(event)

    async def publish_confirmed(self, events: Iterable[UsageEvent | bytes], within_seconds: float) -> None:
        """Publish events and return when the broker has confirmed all of them.

        Raises `NotConfirmed` when the time is up, and `PublisherClosed`; events that are not on their way by then are
        not sent any more.
        """
        delivery = Delivery()
        traceparent = self._traceparent()
        pending = [Pending(encode_event(event), delivery, traceparent) for event in events]
        try:
            async with asyncio.timeout(within_seconds):
                for item in pending:
                    await self._buffer.wait_for_room(len(item.body))
                    self._buffer.append(item)
                await delivery.wait()
        except TimeoutError:
            pass
        finally:
            if delivery.outstanding:
                self._buffer.withdraw(delivery)
        unconfirmed = [item.body for item in pending if not item.confirmed]
        if unconfirmed:
            raise NotConfirmed(unconfirmed, self._problem or f"not confirmed within {within_seconds:g} s")

    async def flush(self, within_seconds: float | None = None) -> None:
        """Return when everything that was published before is confirmed.

        Raises `NotConfirmed` when the time is up; the events stay in the buffer and are tried on.
        """
        self._earlier.append(self._current)
        self._current = Delivery()
        try:
            async with asyncio.timeout(within_seconds):
                for delivery in list(self._earlier):
                    await delivery.wait()
        except TimeoutError:
            raise NotConfirmed(self._buffer.bodies(), self._problem) from None
        finally:
            self._earlier = [delivery for delivery in self._earlier if delivery.outstanding]

    async def close(self) -> None:
        """Take no more events, flush, and disconnect. Raises `NotConfirmed` with all events that are given up."""
        self._buffer.close()
        running, self._running = self._running, None
        if running is None:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._close_seconds):
                    await self._buffer.wait_empty()
        finally:
            running.cancel()
            await asyncio.wait({running})
            unconfirmed = self._buffer.give_up()
            if unconfirmed:
                raise NotConfirmed(unconfirmed, self._problem)

    async def _run(self) -> None:
        """Find the partitions, then send to each until cancelled."""
        pauses = Pauses()
        while True:
            try:
                partitions = await find_partitions(self._address, self._stream)
                break
            except Exception as error:  # noqa: BLE001 — see _send_to
                await self._note_and_sleep(self._stream, error, pauses)
        async with asyncio.TaskGroup() as senders:
            for partition in partitions:
                senders.create_task(self._send_to(partition), name=f"analytics-client {partition}")

    async def _send_to(self, partition: str) -> None:
        """Send what is in the buffer, over one link after the other."""
        pauses = Pauses()
        while True:
            try:
                async with open_link(self._address, partition, self._confirmed, self._confirm_seconds) as link:
                    try:
                        await self._use(link)
                    finally:
                        self._buffer.put_back(link.unconfirmed.values())
                        link.unconfirmed.clear()
                        pauses = Pauses() if link.has_confirmed else pauses
            # A sender that ended would hold its callers back for ever, and rstream raises anything when a broker is
            # in trouble: OSError, TimeoutError, AssertionError, KeyError, errors of its own.
            except Exception as error:  # noqa: BLE001
                await self._note_and_sleep(partition, error, pauses)

    async def _use(self, link: Link) -> None:
        """Send over one link until it is lost, which is raised."""
        self._problem = None
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.watch())
                tasks.create_task(self._feed(link))
        except* Exception as failures:  # noqa: BLE001 — raised below
            failure = failures.exceptions[0]
        # Not in the block: Python before 3.11.4 would put it back into a group.
        if failure is not None:
            raise failure from None

    async def _feed(self, link: Link) -> None:
        while True:
            await link.wait_for_window()
            # In turn, or the partition that wakes first would take everything.
            async with self._turn:
                await self._buffer.wait_filled()
                if self._buffer.queued < BATCH_EVENTS_MAX:
                    await asyncio.sleep(self._linger_seconds)
                numbered = link.register(self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX))
            await link.send(numbered)

    def _confirmed(self, pending: Pending) -> None:
        self._problem = None
        self._buffer.confirm(pending)

    async def _note_and_sleep(self, stream: str, error: Exception, pauses: Pauses) -> None:
        seconds = pauses.next_seconds()
        self._problem = f"{self._address} {stream}: {type(error).__name__}: {error}".removesuffix(": ")
        log.warning("%s; trying again in %.1f s, %d events wait", self._problem, seconds, self.buffered)
        await asyncio.sleep(seconds)
