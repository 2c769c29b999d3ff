"""All questions that somebody watches in this process."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from analytics_core.access import OrgScope, Principal
from analytics_core.errors import InvalidRequest, TooManyRequests
from analytics_core.http.money import JSON
from analytics_core.query.question import Question
from analytics_query_api.limits import (
    LIVE_LIFE_MAX,
    LIVE_LISTENERS_MAX,
    LIVE_LISTENERS_PER_PRINCIPAL_MAX,
    LIVE_POINTS_MAX,
    LIVE_POLL_DEAF_SECONDS,
    LIVE_POLL_SECONDS,
)
from analytics_query_api.live.channel import Channel, Key, follow
from analytics_query_api.live.messages import Ended, EndReason, UsageChanged
from analytics_query_api.live.question import up_to_now
from analytics_query_api.metrics import LIVE_LISTENERS
from analytics_query_api.points import usage_points
from analytics_query_api.queries.freshness import read_state
from analytics_query_api.queries.series import USAGE_POINT
from analytics_query_api.queries.source import Source
from analytics_query_api.reader import Reader

Messages = AsyncIterator[UsageChanged | Ended | None]


class LiveHub:
    """Starts a channel with its first listener and ends it with its last."""

    def __init__(self, reader: Reader, hears_of_folds: Callable[[], bool]) -> None:
        self._reader = reader
        self._hears_of_folds = hears_of_folds
        self._channels: dict[tuple[UUID, Question], Channel] = {}
        self._tasks: dict[tuple[UUID, Question], asyncio.Task[None]] = {}
        self._per_principal: Counter[str] = Counter()
        self._stopping = False

    @property
    def clock(self) -> Callable[[], datetime]:
        return self._reader.clock

    def wake(self, org_ids: Sequence[UUID] | None) -> None:
        """A fold has changed these organisations' numbers; None: anybody's."""
        for (org_id, _), channel in self._channels.items():
            if org_ids is None or org_id in org_ids:
                channel.wake()

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped; then every listener is sent home, so that the server can stop."""
        await stop.wait()
        self._stopping = True
        for channel in self._channels.values():
            channel.end(EndReason.STOPPING)

    @asynccontextmanager
    async def listening(
        self, scope: OrgScope, principal: Principal, question: Question, version: str | None
    ) -> AsyncIterator[Messages]:
        """The messages for one listener. Raises `TooManyRequests`, or what the first read raises."""
        self._admit(principal)
        try:
            key, channel = await self._join(scope, question)
            try:
                now = self.clock()
                until = min(principal.expires_at or now + LIVE_LIFE_MAX, now + LIVE_LIFE_MAX)
                yield follow(channel, version, until, self.clock)
            finally:
                self._leave(key, channel)
        finally:
            self._per_principal[principal.subject] -= 1
            LIVE_LISTENERS.dec()

    def _admit(self, principal: Principal) -> None:
        mine, everybody = self._per_principal[principal.subject], self._per_principal.total()
        if mine >= LIVE_LISTENERS_PER_PRINCIPAL_MAX or everybody >= LIVE_LISTENERS_MAX:
            raise TooManyRequests(
                f"{mine} streams of yours are open here; at most {LIVE_LISTENERS_PER_PRINCIPAL_MAX} may be",
                retry_after_seconds=30,
            )
        self._per_principal[principal.subject] += 1
        LIVE_LISTENERS.inc()

    async def _join(self, scope: OrgScope, question: Question) -> tuple[tuple[UUID, Question], Channel]:
        key = (scope.org_id, question)
        channel = self._channels.get(key)
        if channel is None:
            channel = Channel(scope, question, lambda: self._read(scope, question))
            await channel.refresh()
            # Somebody else may have been as quick.
            channel = self._channels.setdefault(key, channel)
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(channel.run(self._poll_seconds))
        channel.listeners += 1
        if self._stopping:
            channel.end(EndReason.STOPPING)
        return key, channel

    def _leave(self, key: tuple[UUID, Question], channel: Channel) -> None:
        channel.listeners -= 1
        if channel.listeners == 0:
            del self._channels[key]
            self._tasks.pop(key).cancel()

    def _poll_seconds(self) -> float:
        return LIVE_POLL_SECONDS if self._hears_of_folds() else LIVE_POLL_DEAF_SECONDS

    async def _read(self, scope: OrgScope, question: Question) -> dict[Key, bytes]:
        """The points as the usage API has them at this moment. Raises `InvalidRequest` when there are too many."""
        now = self.clock()
        watched = up_to_now(question, now)
        async with self._reader.snapshot(scope) as session:
            state = await read_state(session, scope, now)
            source = Source(session, scope, state)
            plan, page = await source.page(watched, USAGE_POINT, None, LIVE_POINTS_MAX + 1)
        if len(page) > LIVE_POINTS_MAX:
            raise InvalidRequest.field(
                "groupBy", f"more than {LIVE_POINTS_MAX} points: filter, group by less or start later"
            )
        points = usage_points(page, watched, state.freshness(plan).watermark)
        return dict(zip(page.keys(), map(JSON.encode, points), strict=True))
