"""Waiting for several things at once, and not for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta

from analytics_core.errors import AnalyticsError


class TimedOutError(AnalyticsError):
    """A block took longer than its `time_limit`."""


@asynccontextmanager
async def time_limit(duration: timedelta) -> AsyncIterator[None]:
    """Not the TimeoutError of `asyncio.timeout`: drivers raise that one, too."""
    try:
        async with asyncio.timeout(duration.total_seconds()) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise TimedOutError from None


async def first_of(*works: Awaitable[object]) -> None:
    """Run side by side until one ends, cancel the others; raise if it failed. Of several, the first given counts."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    ended.result()
