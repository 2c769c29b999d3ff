"""Where callers' times are kept: one place for all replicas, one in the process for while that is away."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from analytics_core.http.rate_limits.gcra import MICROSECONDS, Quota, Verdict, take
from analytics_core.http.rate_limits.metrics import RATE_LIMITS_LOCAL

# A round trip takes 0.2 ms: at this time Redis is in trouble, and no request waits for it longer.
TIMEOUT_SECONDS = 0.05
PAUSE_SECONDS = 1.0
CONNECTIONS_MAX = 16
# 2 MB; the callers beyond are more than one process serves in a burst's time.
LOCAL_CALLERS_MAX = 10_000

SCRIPT = Path(__file__).with_name("gcra.lua").read_text()

log = structlog.get_logger()


class LocalCells:
    """Of this process; the callers seen longest ago are forgotten first."""

    def __init__(self, now_us: Callable[[], int] = lambda: int(monotonic() * MICROSECONDS)) -> None:
        self._busy_until: OrderedDict[str, int] = OrderedDict()
        self._now_us = now_us

    def take(self, key: str, quota: Quota) -> Verdict:
        """Judge one request of a caller."""
        now_us = self._now_us()
        verdict = take(quota, self._busy_until.pop(key, 0), now_us)
        self._busy_until[key] = now_us + verdict.busy_us
        if len(self._busy_until) > LOCAL_CALLERS_MAX:
            self._busy_until.popitem(last=False)
        return verdict


class SharedCells:
    """In Redis: one script, one round trip. After a failure one request a second tries it, the others do not wait."""

    def __init__(self, redis: Redis, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._script = redis.register_script(SCRIPT)
        self._timeout_seconds = timeout_seconds
        self._away = False
        self._next_try = float("-inf")
        RATE_LIMITS_LOCAL.set(0)

    async def take(self, key: str, quota: Quota) -> Verdict | None:
        """Judge one request of a caller; None while Redis cannot."""
        if self._away:
            if monotonic() < self._next_try:
                return None
            self._next_try = monotonic() + PAUSE_SECONDS
        try:
            async with asyncio.timeout(self._timeout_seconds):
                allowed, busy_us = await self._script(keys=[key], args=[quota.interval_us, quota.depth_us])
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        self._answered()
        return Verdict(quota, bool(allowed), int(busy_us))

    def _failed(self, error: Exception) -> None:
        self._next_try = monotonic() + PAUSE_SECONDS
        if not self._away:
            self._away = True
            RATE_LIMITS_LOCAL.set(1)
            log.warning("rate_limits_local", error=f"{type(error).__name__}: {error}", retry_s=PAUSE_SECONDS)

    def _answered(self) -> None:
        if self._away:
            self._away = False
            RATE_LIMITS_LOCAL.set(0)
            log.info("rate_limits_shared")


def shared_redis(url: str) -> Redis:
    """A client that tries once and connects when it is first used; how long it may take is up to its caller."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=CONNECTIONS_MAX, timeout=None, retry=Retry(NoBackoff(), 0)
    )
    return Redis.from_pool(pool)
