"""`UsagePublisher` for programs without an event loop."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from analytics_client.errors import PublisherClosed
from analytics_client.event import UsageEvent
from analytics_client.publisher import UsagePublisher

# Handing work to the other thread takes about 50 µs, the same as publishing twenty events.
CHUNK_EVENTS = 500

Result = TypeVar("Result")


class BlockingUsagePublisher:
    """The same promises and arguments as `UsagePublisher`, with blocking calls; safe to share between threads.

    Publishing runs on a thread of its own. Open it after a fork, not before: threads do not survive one.
    """

    def __init__(self, url: str, **options: Any) -> None:
        """Arguments as those of `UsagePublisher`."""
        self._publisher = UsagePublisher(url, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="analytics-client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._publisher.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call(self._publisher.__aexit__(kind, error, trace))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def publish(self, event: UsageEvent | bytes) -> None:
        """See `UsagePublisher.publish`; for many events `publish_many` is ten times as fast."""
        self._call(self._publisher.publish(event))

    def publish_many(self, events: Iterable[UsageEvent | bytes]) -> None:
        """See `UsagePublisher.publish_many`."""
        remaining = iter(events)
        while chunk := list(islice(remaining, CHUNK_EVENTS)):
            self._call(self._publisher.publish_many(chunk))

    def publish_confirmed(self, events: Iterable[UsageEvent | bytes], within_seconds: float) -> None:
        """See `UsagePublisher.publish_confirmed`."""
        self._call(self._publisher.publish_confirmed(events, within_seconds))

    def flush(self, within_seconds: float | None = None) -> None:
        """See `UsagePublisher.flush`."""
        self._call(self._publisher.flush(within_seconds))

    @property
    def problem(self) -> str | None:
        """See `UsagePublisher.problem`."""
        return self._publisher.problem

    @property
    def buffered(self) -> int:
        """See `UsagePublisher.buffered`."""
        return self._publisher.buffered

    def _call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        if not self._thread.is_alive():
            coroutine.close()
            raise PublisherClosed("the publisher is not open")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C while it waits for room: nobody waits for the answer any more
            raise
