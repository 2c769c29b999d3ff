"""The limit on a caller's requests, between its identity and the decision about what it may do.

Reads and writes have a limit each, so that a dashboard that asks too often does not keep its user from anything else. A
request that is refused here is neither decided about nor audited: it costs less than one that passes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from litestar.connection import ASGIConnection

from analytics_core.access import Principal
from analytics_core.errors import TooManyRequests
from analytics_core.http.rate_limits.cells import LocalCells, SharedCells, shared_redis
from analytics_core.http.rate_limits.gcra import Quota, Verdict
from analytics_core.http.rate_limits.metrics import RATE_LIMITED
from analytics_core.settings import AuthenticatedServiceSettings

KEY_PREFIX = "analytics:rate:"


class Kind(StrEnum):
    """What has a limit of its own."""

    READ = "read"
    WRITE = "write"
    ANONYMOUS = "anonymous"


_SAFE_METHODS = frozenset({"GET", "HEAD"})


class RateLimits:
    """One instance serves a whole application; without a quota it lets everything pass."""

    def __init__(self, service: str, quota: Quota | None, shared: SharedCells | None = None) -> None:
        self._service = service
        self._quota = quota
        self._shared = shared
        self._local = LocalCells()

    async def admit(self, connection: ASGIConnection[Any, Any, Any, Any], principal: Principal | None) -> None:
        """Count a request of a caller; None is one that proves no identity. Raises `TooManyRequests`."""
        if self._quota is None:
            return
        if principal is None:
            kind, verdict = Kind.ANONYMOUS, self._local.take(_address(connection), self._quota)
        else:
            # Opening a WebSocket has no method, and is a read.
            kind = Kind.READ if connection.scope.get("method", "GET") in _SAFE_METHODS else Kind.WRITE
            verdict = await self._of_caller(f"{KEY_PREFIX}{self._service}:{kind}:{fingerprint(principal)}", self._quota)
        connection.scope["analytics_rate_limit"] = kind, verdict  # type: ignore[typeddict-unknown-key]
        if not verdict.allowed:
            RATE_LIMITED.labels(kind).inc()
            raise TooManyRequests(
                f"{kind}: {self._quota.burst} requests at once and {self._quota.per_second} a second are what one "
                "caller may send",
                retry_after_seconds=verdict.retry_seconds,
            )

    async def _of_caller(self, key: str, quota: Quota) -> Verdict:
        shared = await self._shared.take(key, quota) if self._shared is not None else None
        return shared or self._local.take(key, quota)


@asynccontextmanager
async def open_rate_limits(settings: AuthenticatedServiceSettings) -> AsyncIterator[RateLimits]:
    """The limits that the settings ask for. Connects to nothing yet."""
    # Without identities all callers are one.
    quota = (
        Quota(settings.rate_limit_per_second, settings.rate_limit_burst)
        if settings.rate_limit_per_second and settings.enable_rbac
        else None
    )
    if quota is None or settings.redis_url is None:
        yield RateLimits(settings.service_name, quota)
        return
    async with shared_redis(settings.redis_url.get_secret_value()) as redis:
        yield RateLimits(settings.service_name, quota, SharedCells(redis))


def fingerprint(principal: Principal) -> str:
    """The same for all requests of a caller, whatever its roles; tells nothing of who that is."""
    text = "\0".join((principal.subject, *sorted(map(str, principal.orgs))))
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _address(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Of the direct peer: behind a gateway all callers without an identity are one, and those with one unaffected."""
    return connection.client.host if connection.client else "unknown"
