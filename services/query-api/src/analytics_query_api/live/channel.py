"""One watched question: read when something may have changed, compared with what was, told to all who listen."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from time import monotonic
from typing import Any

import structlog

from analytics_core.access import OrgScope
from analytics_core.clock import Clock
from analytics_core.database import REFUSED, UNREACHABLE
from analytics_core.errors import InvalidRequest, Unavailable
from analytics_core.query.question import Question
from analytics_query_api.limits import (
    LIVE_CHANGES_KEPT,
    LIVE_HEARTBEAT_SECONDS,
    LIVE_PAUSE_SECONDS,
    LIVE_PAUSE_SECONDS_MAX,
    LIVE_PAUSE_SHARE,
)
from analytics_query_api.live.messages import Ended, EndReason, UsageChanged, usage_changed
from analytics_query_api.metrics import LIVE_READS

Key = tuple[Any, ...]
"""Bucket and groups of a point."""
Read = Callable[[], Awaitable[dict[Key, bytes]]]
"""All points as JSON, in their order."""

log = structlog.get_logger()


class Channel:
    """The state of one question. However many listen, one query reads it.

    Listeners pull: each knows the version that it has, so a slow one costs no memory and misses nothing.
    """

    def __init__(self, scope: OrgScope, question: Question, read: Read) -> None:
        self._scope = scope
        self._question = question
        self._read = read
        self._points: dict[Key, bytes] = {}
        self._changes: deque[tuple[str, frozenset[Key]]] = deque(maxlen=LIVE_CHANGES_KEPT)
        self._version = ""
        self._dirty = asyncio.Event()
        self.changed = asyncio.Event()
        """Set, and replaced by another one, when there is something to look at."""
        self.ended: EndReason | None = None
        self.listeners = 0

    async def run(self, poll_seconds: Callable[[], float]) -> None:
        """Read again whenever woken, and at least every `poll_seconds()`, until there are too many points."""
        while True:
            try:
                async with asyncio.timeout(poll_seconds()):
                    await self._dirty.wait()
            except TimeoutError:
                pass
            self._dirty.clear()
            started = monotonic()
            try:
                await self.refresh()
            except (Unavailable, *UNREACHABLE, *REFUSED) as error:
                log.warning("live_read_failed", error=f"{type(error).__name__}: {error}", retrying=True)
            except InvalidRequest:
                self.end(EndReason.TOO_LARGE)
                return
            # One read for all folds of this moment, and a large one leaves time for other requests.
            pause = LIVE_PAUSE_SHARE * (monotonic() - started)
            await asyncio.sleep(min(max(LIVE_PAUSE_SECONDS, pause), LIVE_PAUSE_SECONDS_MAX))

    def wake(self) -> None:
        """Something may have changed."""
        self._dirty.set()

    def end(self, reason: EndReason) -> None:
        """Send every listener home."""
        self.ended = reason
        self._tell()

    async def refresh(self) -> None:
        """Read, and tell the listeners if anything is different. Raises what the read raises."""
        LIVE_READS.inc()
        points = await self._read()
        version = hashlib.sha256(b"\n".join(points.values())).hexdigest()[:20]
        if version == self._version:
            return
        if self._points.keys() <= points.keys():
            self._changes.append(
                (self._version, frozenset(key for key, point in points.items() if self._points.get(key) != point))
            )
        else:
            # A bucket is gone (erased, rebuilt): only the whole can say so.
            self._changes.clear()
        self._points, self._version = points, version
        self._tell()

    def since(self, version: str | None) -> UsageChanged | None:
        """What somebody lacks who has this version; all there is when it is unknown, None when it is the latest."""
        if version == self._version:
            return None
        changed: set[Key] = set()
        for before, keys in reversed(self._changes):
            changed |= keys
            if before == version:
                points = [point for key, point in self._points.items() if key in changed]
                return usage_changed(self._scope.org_id, self._question, self._version, points, reset=False)
        points = list(self._points.values())
        return usage_changed(self._scope.org_id, self._question, self._version, points, reset=True)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


async def follow(
    channel: Channel, version: str | None, until: datetime, clock: Clock
) -> AsyncIterator[UsageChanged | Ended | None]:
    """What a listener is to be sent, from the version that it has; None is a heartbeat. Ends with an `Ended`."""
    while True:
        changed, left_seconds = channel.changed, (until - clock()).total_seconds()
        if left_seconds <= 0 or channel.ended:
            yield Ended(reason=channel.ended or EndReason.EXPIRED)
            return
        message = channel.since(version)
        if message is not None:
            version = message.id
            yield message
            continue
        try:
            async with asyncio.timeout(min(LIVE_HEARTBEAT_SECONDS, left_seconds)):
                await changed.wait()
        except TimeoutError:
            yield None
