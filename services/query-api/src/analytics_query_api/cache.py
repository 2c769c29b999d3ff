"""Freshness facts in Redis. A cache only: whatever happens to it, the answers are the same, a few milliseconds later.

`analytics:freshness:<orgId>` holds what is known of an organisation's models until a fold changes it (`drop`) or its
time is over. `analytics:freshness:pipeline` holds the watermark for two seconds only: it moves all the time, and an
answer with an old one would make an idle system look late.

A reader may look into the database just before a fold and store what it saw just after the fold's `drop`. So facts
carry the generation that their reader found before it asked the database, `drop` sets another one, and facts of a
generation that is not the current one are not used.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from analytics_core.access import OrgScope
from analytics_query_api.freshness import ModelFacts, PipelineFacts
from analytics_query_api.limits import REDIS_CONNECTIONS_MAX, REDIS_PAUSE_SECONDS, REDIS_TIMEOUT_SECONDS
from analytics_query_api.metrics import FRESHNESS_CACHE_ERRORS, FRESHNESS_CACHE_SECONDS, FRESHNESS_INVALIDATIONS

KEY_PREFIX = "analytics:freshness:"
PIPELINE_KEY = f"{KEY_PREFIX}pipeline"
GENERATION_KEY = f"{KEY_PREFIX}generation"
# As long as ingest takes at most to confirm that it is caught up; five times less than what counts as being behind.
PIPELINE_TTL_MS = 2_000

Generation = tuple[str, str]
"""Of all organisations, and of the one at hand; empty until something is dropped."""
Result = TypeVar("Result")
log = structlog.get_logger()


class _StoredModels(msgspec.Struct, frozen=True, array_like=True):
    generation: Generation
    models: tuple[ModelFacts, ...]


class CachedFacts(msgspec.Struct, frozen=True):
    """What the cache knows; None is what the database has to be asked for. No generation: do not store."""

    generation: Generation | None = None
    pipeline: PipelineFacts | None = None
    models: tuple[ModelFacts, ...] | None = None


_NOTHING = CachedFacts()
_STORED_MODELS = msgspec.msgpack.Decoder(_StoredModels)
_PIPELINE = msgspec.msgpack.Decoder(PipelineFacts)


def redis_client(url: str) -> Redis:
    """A client that gives up after `REDIS_TIMEOUT_SECONDS`, tries once and connects when it is first used."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=REDIS_CONNECTIONS_MAX,
        timeout=REDIS_TIMEOUT_SECONDS,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


class FreshnessCache:
    """Never raises and never waits long: after a failed call Redis is left alone for `REDIS_PAUSE_SECONDS`."""

    def __init__(self, redis: Redis, ttl_ms: int, *, reads_replica: bool = False) -> None:
        self._redis = redis
        self._ttl_ms = ttl_ms
        # A fold may be heard of before a replica has it: what is read then is old, and of the new generation.
        self._reads_replica = reads_replica
        self._paused_until = float("-inf")
        self.hears_of_folds = False
        """Whether `drop` is called when rollups change. While it is not, facts about models are not taken from here."""
        self._owes_drop = False
        self._failed_drops = 0

    async def look_up(self, scope: OrgScope) -> CachedFacts:
        """All facts in one round trip."""
        if self._owes_drop:
            await self._drop(None)
        keys = (GENERATION_KEY, _generation_key(scope.org_id), PIPELINE_KEY, _key(scope.org_id))
        with FRESHNESS_CACHE_SECONDS.time():
            found: list[Any] | None = await self._try(lambda: self._redis.mget(keys))
        if found is None:
            return _NOTHING
        generation = ((found[0] or b"").decode(), (found[1] or b"").decode())
        try:
            stored = _STORED_MODELS.decode(found[3]) if found[3] and self._may_trust_models() else None
            return CachedFacts(
                generation,
                _PIPELINE.decode(found[2]) if found[2] else None,
                stored.models if stored and stored.generation == generation else None,
            )
        except msgspec.MsgspecError:
            log.warning("freshness_cache_unreadable", org_id=str(scope.org_id))
            return CachedFacts(generation)

    async def store(
        self, scope: OrgScope, generation: Generation, pipeline: PipelineFacts, models: tuple[ModelFacts, ...]
    ) -> None:
        """Keep facts that were read from the database after `look_up` had found this generation."""
        batch = self._redis.pipeline(transaction=False)
        batch.set(PIPELINE_KEY, msgspec.msgpack.encode(pipeline), px=PIPELINE_TTL_MS)
        batch.set(_key(scope.org_id), msgspec.msgpack.encode(_StoredModels(generation, models)), px=self._ttl_ms)
        await self._try(batch.execute)

    async def drop(self, org_ids: Sequence[UUID] | None) -> None:
        """Forget what a fold has changed; None stands for every organisation. What fails is made good later."""
        FRESHNESS_INVALIDATIONS.inc()
        await self._drop(None if self._owes_drop else org_ids)

    async def _drop(self, org_ids: Sequence[UUID] | None) -> None:
        keys = [GENERATION_KEY] if org_ids is None else [_generation_key(org_id) for org_id in org_ids]
        generation = uuid4().hex
        batch = self._redis.pipeline(transaction=False)
        for key in keys:
            # Outlives all facts of the generation before; then the empty one is new again.
            batch.set(key, generation, px=2 * self._ttl_ms)
        failed_before = self._failed_drops
        if await self._try(batch.execute) is None:
            self._owes_drop = True
            self._failed_drops += 1
        elif org_ids is None and self._failed_drops == failed_before:
            # Only a drop of everything makes good what failed, and only what failed before it began.
            self._owes_drop = False

    def _may_trust_models(self) -> bool:
        return self.hears_of_folds and not self._owes_drop and not self._reads_replica

    async def ping(self) -> None:
        """Return when Redis answers; raises when it does not, twice: a process that starts is often late itself."""
        with suppress(RedisTimeout):
            await self._redis.execute_command("PING")  # type: ignore[no-untyped-call]
            return
        await self._redis.execute_command("PING")  # type: ignore[no-untyped-call]

    async def _try(self, call: Callable[[], Awaitable[Result]]) -> Result | None:
        if monotonic() < self._paused_until:
            return None
        try:
            return await call()
        except (RedisError, OSError, TimeoutError) as error:
            FRESHNESS_CACHE_ERRORS.inc()
            log.warning("freshness_cache_failed", error=f"{type(error).__name__}: {error}", pause_s=REDIS_PAUSE_SECONDS)
            self._paused_until = monotonic() + REDIS_PAUSE_SECONDS
            return None


def _key(org_id: UUID) -> str:
    return f"{KEY_PREFIX}{org_id}"


def _generation_key(org_id: UUID) -> str:
    return f"{KEY_PREFIX}{org_id}:generation"
