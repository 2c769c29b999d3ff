"""A watched question: who listens is told when it has become too large, and nothing is left out in silence."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat

import asyncpg
import pytest

from analytics_core.access import scope_for_accepted_job
from analytics_core.errors import InvalidRequest
from analytics_core.query.question import Question
from analytics_core.query.zones import UTC_ZONE, Granularity
from analytics_core.testing.builders import NOON, ORG_ID
from analytics_query_api.live import channel as channels
from analytics_query_api.live.channel import Channel, Key, follow
from analytics_query_api.live.messages import Ended, EndReason, UsageChanged

QUESTION = Question(NOON, NOON, Granularity.HOUR, UTC_ZONE)

Answer = dict[Key, bytes] | Exception


def reading(answers: Sequence[Answer]) -> Callable[[], Awaitable[dict[Key, bytes]]]:
    """Reads that have these outcomes one after the other, and then the last one for good."""
    outcomes = chain(answers, repeat(answers[-1]))

    async def read() -> dict[Key, bytes]:
        answer = next(outcomes)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return read


async def test_a_question_that_grows_too_large_ends_for_everybody() -> None:
    """First its points, then a refusal of the read: the last message says why."""
    answers: list[Answer] = [{(NOON,): b"{}"}, InvalidRequest.field("groupBy", "too many")]

    channel = Channel(scope_for_accepted_job(ORG_ID), QUESTION, reading(answers))
    await channel.refresh()
    messages = follow(channel, None, datetime.now(UTC) + timedelta(minutes=1), lambda: datetime.now(UTC))
    first = await anext(messages)
    channel.wake()
    async with asyncio.timeout(30):
        await channel.run(lambda: 30.0)
        rest = [message async for message in messages]

    assert isinstance(first, UsageChanged)
    assert rest == [Ended(reason=EndReason.TOO_LARGE)]


async def test_an_error_of_the_server_is_outlived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory for a moment: who listens would have got heartbeats and never another point."""
    monkeypatch.setattr(channels, "LIVE_PAUSE_SECONDS", 0.01)
    answers: list[Answer] = [{(NOON,): b"1"}, asyncpg.OutOfMemoryError("out of memory"), {(NOON,): b"2"}]

    channel = Channel(scope_for_accepted_job(ORG_ID), QUESTION, reading(answers))
    await channel.refresh()
    messages = follow(channel, None, datetime.now(UTC) + timedelta(minutes=1), lambda: datetime.now(UTC))
    running = asyncio.create_task(channel.run(lambda: 0.01))
    async with asyncio.timeout(30):
        found = [await anext(messages), await anext(messages)]
    running.cancel()

    points = [list(map(bytes, message.points)) for message in found if isinstance(message, UsageChanged)]
    assert points == [[b"1"], [b"2"]]
