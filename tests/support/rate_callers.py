"""Many requests of one caller, from a process of their own: for `ProcessPoolExecutor`, which imports what it runs."""

import asyncio

from analytics_core.http.rate_limits.cells import SharedCells, shared_redis
from analytics_core.http.rate_limits.gcra import Quota

PATIENCE_S = 60.0


def burst(redis_url: str, key: str, quota: Quota, requests: int) -> int:
    """Send so many requests at once; answers how many passed."""
    return asyncio.run(_burst(redis_url, key, quota, requests))


async def _burst(redis_url: str, key: str, quota: Quota, requests: int) -> int:
    async with shared_redis(redis_url) as redis:
        cells = SharedCells(redis, PATIENCE_S)
        verdicts = await asyncio.gather(*(cells.take(key, quota) for _ in range(requests)))
    assert None not in verdicts
    return sum(verdict.allowed for verdict in verdicts if verdict is not None)
