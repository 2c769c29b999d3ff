"""The cache in front of freshness: faster, never wrong, and no loss when it is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import aio_pika
import msgspec
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from analytics_core.access import DEVELOPMENT_PRINCIPAL, Action, OrgScope, decide
from analytics_core.messages import EXCHANGE, ROLLUP_COMPLETED, RollupCompleted
from analytics_query_api.cache import FreshnessCache, redis_client
from analytics_query_api.freshness import ModelFacts, PipelineFacts
from analytics_query_api.limits import REDIS_PAUSE_SECONDS
from tests.integration.query_api.conftest import Api, OpenApi
from tests.integration.query_api.numbers import NOW, Numbers
from tests.support.fault_proxy import FaultProxy
from tests.support.stack import RabbitMq

SECOND = timedelta(seconds=1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cached(open_api: OpenApi) -> AsyncIterator[Api]:
    """An API that hears of folds, so that it trusts its cache."""
    async with open_api(hears_of_folds=True) as running:
        await until(lambda: is_listening(running))
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def until(condition: Any, patience_s: float = 10) -> None:
    """Poll an asynchronous condition until it is true."""
    deadline = time.monotonic() + patience_s
    while not await condition():
        assert time.monotonic() < deadline, f"not true after {patience_s} s"
        await asyncio.sleep(0.02)


async def is_listening(api: Api) -> bool:
    states = await api.resources.dependencies.states()
    return states["rabbitmq"] is None


def scope_of(org_id: UUID) -> OrgScope:
    scope = decide(DEVELOPMENT_PRINCIPAL, Action.FRESHNESS_READ, org_id).scope
    assert scope is not None
    return scope


def count(name: str) -> float:
    return REGISTRY.get_sample_value(f"analytics_freshness_cache_{name}_total") or 0.0


async def last_event_at(api: Api, org_id: UUID) -> str:
    response = await api.get(f"/orgs/{org_id}/freshness")
    assert response.status_code == 200, response.text
    value: str = response.json()["lastEventAt"]
    return value


async def publish(rabbitmq: RabbitMq, org_ids: list[UUID] | None) -> None:
    """What rollup sends after a fold."""
    message = RollupCompleted(org_ids=org_ids, folded_batches=1, completed_at=NOW)
    connection = await aio_pika.connect(rabbitmq.amqp_url)
    async with connection, connection.channel() as channel:
        exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        await exchange.publish(aio_pika.Message(msgspec.json.encode(message)), ROLLUP_COMPLETED)


async def test_the_second_answer_comes_from_redis_and_is_the_same(cached: Api, numbers: Numbers, org_id: UUID) -> None:
    numbers.note_freshness(org_id, "a", NOW - 5 * SECOND, NOW)
    first = (await cached.get(f"/orgs/{org_id}/freshness")).json()
    hits, misses = count("hits"), count("misses")

    second = (await cached.get(f"/orgs/{org_id}/freshness")).json()

    assert second == first
    assert (count("hits"), count("misses")) == (hits + 1, misses)


async def test_a_fold_of_the_organisation_is_seen_at_once(
    cached: Api, numbers: Numbers, org_id: UUID, rabbitmq: RabbitMq
) -> None:
    """The TTL is five minutes; a dashboard is looked at after seconds."""
    numbers.note_freshness(org_id, "a", NOW - 60 * SECOND, NOW)
    assert await last_event_at(cached, org_id) == "2026-03-10T11:59:00Z"
    numbers.note_freshness(org_id, "a", NOW - 1 * SECOND, NOW)

    await publish(rabbitmq, [org_id])

    async def is_seen() -> bool:
        return await last_event_at(cached, org_id) == "2026-03-10T11:59:59Z"

    await until(is_seen)


async def test_a_fold_of_many_organisations_drops_them_all(
    cached: Api, numbers: Numbers, org_id: UUID, rabbitmq: RabbitMq
) -> None:
    """A message names at most 100 organisations; beyond that it names none."""
    numbers.note_freshness(org_id, "a", NOW - 60 * SECOND, NOW)
    await last_event_at(cached, org_id)
    numbers.note_freshness(org_id, "a", NOW - 2 * SECOND, NOW)

    await publish(rabbitmq, None)

    async def is_seen() -> bool:
        return await last_event_at(cached, org_id) == "2026-03-10T11:59:58Z"

    await until(is_seen)


async def test_a_broker_that_hangs_is_found_when_it_works_again(
    open_api: OpenApi, rabbitmq: RabbitMq, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepted a connection and never said a word on it: the cache must not stay unused for that."""
    monkeypatch.setattr("analytics_query_api.wakeups.CONNECT_TIMEOUT_SECONDS", 0.5)
    address = urlsplit(rabbitmq.amqp_url)
    async with FaultProxy.open(rabbitmq.host, rabbitmq.amqp_port) as proxy:
        proxy.stall()
        url = urlunsplit(address._replace(netloc=f"{address.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}"))
        async with open_api(rabbitmq_url=url, hears_of_folds=True) as api:
            await asyncio.wait_for(proxy.stalled.wait(), 30)
            proxy.accept()

            await until(lambda: is_listening(api), patience_s=30)


async def test_a_lost_connection_to_the_broker_is_made_good(
    open_api: OpenApi, numbers: Numbers, org_id: UUID, rabbitmq: RabbitMq
) -> None:
    """What was folded meanwhile went unheard; what is folded afterwards is heard again."""
    address = urlsplit(rabbitmq.amqp_url)
    async with FaultProxy.open(rabbitmq.host, rabbitmq.amqp_port) as proxy:
        url = urlunsplit(address._replace(netloc=f"{address.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}"))
        async with open_api(rabbitmq_url=url, hears_of_folds=True) as api:
            await until(lambda: is_listening(api))
            numbers.note_freshness(org_id, "a", NOW - 60 * SECOND, NOW)
            await last_event_at(api, org_id)
            proxy.refuse()

            async def is_cut() -> bool:
                return not await is_listening(api)

            await until(is_cut)
            numbers.note_freshness(org_id, "a", NOW - 50 * SECOND, NOW)
            await publish(rabbitmq, [org_id])
            assert await last_event_at(api, org_id) == "2026-03-10T11:59:10Z"

            numbers.note_freshness(org_id, "a", NOW - 40 * SECOND, NOW)
            proxy.accept()
            await until(lambda: is_listening(api), patience_s=30)
            assert await last_event_at(api, org_id) == "2026-03-10T11:59:20Z"

            numbers.note_freshness(org_id, "a", NOW - 30 * SECOND, NOW)
            await publish(rabbitmq, [org_id])

            async def is_seen() -> bool:
                return await last_event_at(api, org_id) == "2026-03-10T11:59:30Z"

            await until(is_seen)


async def test_an_old_watermark_in_the_cache_does_not_make_an_idle_system_late(
    cached: Api, numbers: Numbers, org_id: UUID, redis: Redis
) -> None:
    """The models' facts may be minutes old, as nothing happens; the watermark is as old as the last heartbeat."""
    numbers.note_freshness(org_id, "a", NOW - 3_600 * SECOND, NOW)
    await last_event_at(cached, org_id)
    numbers.set_watermark(NOW + 240 * SECOND)
    cached.clock.now = NOW + 241 * SECOND
    try:
        await redis.pexpire("analytics:freshness:pipeline", 1)
        await asyncio.sleep(0.02)
        body = (await cached.get(f"/orgs/{org_id}/freshness")).json()
        ttl_ms = await redis.pttl("analytics:freshness:pipeline")
    finally:
        cached.clock.now = NOW
        numbers.set_watermark(NOW)

    assert (body["lagSeconds"], body["status"]) == (0.0, "fresh")
    assert 0 < ttl_ms <= 2_000
    await redis.delete("analytics:freshness:pipeline")


async def test_cached_facts_still_age(cached: Api, numbers: Numbers, org_id: UUID) -> None:
    """Lag is computed when it is said: were it cached, a dead pipeline would look fresh."""
    numbers.note_freshness(org_id, "a", NOW, NOW)
    await last_event_at(cached, org_id)
    hits = count("hits")
    cached.clock.now = NOW + 400 * SECOND
    try:
        body = (await cached.get(f"/orgs/{org_id}/freshness")).json()
    finally:
        cached.clock.now = NOW

    assert count("hits") == hits + 1
    assert (body["lagSeconds"], body["status"]) == (400.0, "stale")


async def test_facts_read_before_a_fold_are_not_kept_after_it(redis_url: str, org_id: UUID) -> None:
    """A reader that is slow between database and cache must not bring the old facts back for five minutes."""
    scope = scope_of(org_id)
    async with redis_client(redis_url) as client:
        cache = FreshnessCache(client, ttl_ms=60_000)
        cache.hears_of_folds = True
        before = await cache.look_up(scope)
        await cache.drop([org_id])
        assert before.generation is not None
        await cache.store(scope, before.generation, PipelineFacts(NOW, False), (ModelFacts("a", NOW, NOW),))

        assert (await cache.look_up(scope)).models is None

        after = await cache.look_up(scope)
        assert after.generation is not None
        await cache.store(scope, after.generation, PipelineFacts(NOW, False), (ModelFacts("a", NOW, NOW),))

        assert (await cache.look_up(scope)).models == (ModelFacts("a", NOW, NOW),)


async def test_without_word_of_folds_the_cache_is_not_believed(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """RabbitMQ is away: nobody tells the cache what has changed, so the database is asked."""
    numbers.note_freshness(org_id, "a", NOW - 60 * SECOND, NOW)
    await last_event_at(api, org_id)
    numbers.note_freshness(org_id, "a", NOW - 3 * SECOND, NOW)

    assert await last_event_at(api, org_id) == "2026-03-10T11:59:57Z"


async def test_something_else_under_the_key_is_a_miss(
    cached: Api, numbers: Numbers, org_id: UUID, redis: Redis
) -> None:
    """Another version of the service may have written it."""
    numbers.note_freshness(org_id, "a", NOW, NOW)
    await redis.set(f"analytics:freshness:{org_id}", b"\xc1 not what it should be")

    assert await last_event_at(cached, org_id) == "2026-03-10T12:00:00Z"


async def test_redis_away_frozen_and_back(open_api: OpenApi, redis_url: str, numbers: Numbers, org_id: UUID) -> None:
    """Each answer is right and soon: one request pays a tenth of a second, then Redis is left alone for a while."""
    numbers.note_freshness(org_id, "a", NOW, NOW)
    address = urlsplit(redis_url)
    async with FaultProxy.open(address.hostname or "", address.port or 0) as proxy:
        password = f":{address.password}@" if address.password else ""
        url = urlunsplit(address._replace(netloc=f"{password}127.0.0.1:{proxy.port}"))
        async with open_api(redis_url=url, hears_of_folds=True) as api:
            await until(lambda: is_listening(api))
            await last_event_at(api, org_id)
            hits = count("hits")
            await last_event_at(api, org_id)
            assert count("hits") == hits + 1

            proxy.freeze()
            errors = count("errors")
            started = time.monotonic()
            assert await last_event_at(api, org_id) == "2026-03-10T12:00:00Z"
            numbers.note_freshness(org_id, "a", NOW + SECOND, NOW)
            assert await last_event_at(api, org_id) == "2026-03-10T12:00:01Z"
            assert count("errors") == errors + 1
            assert time.monotonic() - started < REDIS_PAUSE_SECONDS

            proxy.refuse()
            assert await last_event_at(api, org_id) == "2026-03-10T12:00:01Z"

            async def is_degraded() -> bool:
                readiness = await api.client.get("/analytics/v1/status/readyz")
                assert readiness.status_code == 200
                return bool(readiness.json()["dependencies"]["redis"] != "ok")

            await until(is_degraded)

            proxy.accept()
            hits = count("hits")

            async def is_used_again() -> bool:
                await last_event_at(api, org_id)
                return count("hits") > hits

            await until(is_used_again, patience_s=REDIS_PAUSE_SECONDS * 3)


@pytest_asyncio.fixture(loop_scope="session")
async def lone_cache(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[FreshnessCache, FaultProxy]]:
    """A cache that nobody else drops from, behind a proxy, with more patience than a busy machine needs."""
    monkeypatch.setattr("analytics_query_api.cache.REDIS_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("analytics_query_api.cache.REDIS_TIMEOUT_SECONDS", 10.0)
    monkeypatch.setattr("analytics_query_api.cache.GENERATION_KEY", f"analytics:freshness:{uuid4()}")
    address = urlsplit(redis_url)
    password = f":{address.password}@" if address.password else ""
    async with FaultProxy.open(address.hostname or "", address.port or 0) as proxy:
        url = urlunsplit(address._replace(netloc=f"{password}127.0.0.1:{proxy.port}"))
        async with redis_client(url) as client:
            cache = FreshnessCache(client, ttl_ms=60_000)
            cache.hears_of_folds = True
            yield cache, proxy


async def remember(cache: FreshnessCache, scope: OrgScope) -> None:
    known = await cache.look_up(scope)
    assert known.generation is not None
    await cache.store(scope, known.generation, PipelineFacts(NOW, False), (ModelFacts("a", NOW, NOW),))
    assert (await cache.look_up(scope)).models is not None


async def test_what_could_not_be_dropped_is_not_believed_later(
    lone_cache: tuple[FreshnessCache, FaultProxy], org_id: UUID
) -> None:
    """Redis was away when a fold should have dropped facts: back again, it still has them."""
    cache, proxy = lone_cache
    scope = scope_of(org_id)
    await remember(cache, scope)
    proxy.refuse()
    await cache.drop([org_id])
    proxy.accept()

    assert (await cache.look_up(scope)).models is None


async def test_a_drop_that_succeeds_does_not_make_good_another_that_failed_beside_it(
    lone_cache: tuple[FreshnessCache, FaultProxy], org_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds come several at a time: one of their messages may reach Redis and the one before it not."""
    cache, _ = lone_cache
    scope = scope_of(org_id)
    await remember(cache, scope)
    answered, call = asyncio.Event(), cache._try

    async def slow(command: Any) -> Any:
        done = await call(command)
        await answered.wait()
        return done

    async def failing(command: Any) -> None:
        return None

    monkeypatch.setattr(cache, "_try", slow)
    other = asyncio.create_task(cache.drop([uuid4()]))
    await asyncio.sleep(0)
    monkeypatch.setattr(cache, "_try", failing)
    await cache.drop([org_id])
    monkeypatch.setattr(cache, "_try", call)
    answered.set()
    await other

    assert (await cache.look_up(scope)).models is None
