"""Rate limits on a real Redis: one count for all replicas, its loss, what callers are told, and what is exempt."""

import multiprocessing
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from analytics_core.access import Principal
from analytics_core.database import WriteDatabase
from analytics_core.http.rate_limits import cells
from analytics_core.http.rate_limits.cells import SCRIPT, SharedCells, shared_redis
from analytics_core.http.rate_limits.gcra import Quota, take
from analytics_core.http.rate_limits.limits import RateLimits, fingerprint
from analytics_core.http.rate_limits.metrics import RATE_LIMITS_LOCAL
from tests.integration.http_core.conftest import AuditRows
from tests.integration.http_core.probe import Probe, open_probe, things
from tests.support.callers import bearer
from tests.support.fault_proxy import FaultProxy
from tests.support.rate_callers import PATIENCE_S, burst

READ, WRITE = "analytics:usage:read", "analytics:exports:create"
HOUR = Quota(per_second=1, burst=3)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(Quota, st.integers(1, 2_000), st.integers(1, 50)),
    st.lists(st.one_of(st.just(0), st.integers(0, 2_000_000), st.just(-3_600_000_000)), max_size=20),
)
def test_redis_judges_as_the_process_does(redis_url: str, quota: Quota, pauses: list[int]) -> None:
    """The script with a clock that the test holds, set back too, and ten minutes more until it forgets.

    Times are of today: a float could lose their digits.
    """
    script = SCRIPT.replace("redis.call('TIME')", "{ARGV[3], ARGV[4]}").replace("/ 1000)", "/ 1000) + 600000")
    key, now_us, busy_until_us = f"test:{uuid4()}", 1_800_000_000_000_000, 0
    with Redis.from_url(redis_url) as redis:
        judge = redis.register_script(script)
        for pause_us in pauses:
            now_us += pause_us
            verdict = take(quota, busy_until_us, now_us)
            busy_until_us = now_us + verdict.busy_us
            seconds, microseconds = divmod(now_us, 1_000_000)
            answer = judge(keys=[key], args=[quota.interval_us, quota.depth_us, seconds, microseconds])

            assert answer == [verdict.allowed, verdict.busy_us]
        redis.delete(key)


def test_callers_in_two_processes_never_get_more_than_the_burst(redis_url: str) -> None:
    """400 requests at once of one caller: the 100 of its burst pass, and one for each second that goes by."""
    quota, key = Quota(per_second=1, burst=100), f"test:{uuid4()}"
    started = time.monotonic()
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        passed = [pool.submit(burst, redis_url, key, quota, 200) for _ in range(2)]
        total = sum(each.result() for each in passed)
    seconds = time.monotonic() - started

    assert quota.burst <= total <= quota.burst + seconds


@pytest_asyncio.fixture
async def proxied(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[SharedCells, FaultProxy]]:
    """Redis behind a proxy, tried again by each request, with more patience than a busy machine needs."""
    monkeypatch.setattr(cells, "PAUSE_SECONDS", 0.0)
    address = urlsplit(redis_url)
    password = f":{address.password}@" if address.password else ""
    async with FaultProxy.open(address.hostname or "", address.port or 0) as proxy:
        url = urlunsplit(address._replace(netloc=f"{password}127.0.0.1:{proxy.port}"))
        async with shared_redis(url) as redis:
            yield SharedCells(redis, PATIENCE_S), proxy


@pytest_asyncio.fixture
async def limited(
    audit_database: WriteDatabase, proxied: tuple[SharedCells, FaultProxy]
) -> AsyncIterator[tuple[Probe, FaultProxy]]:
    """An application whose callers may send three requests at once."""
    shared, proxy = proxied
    async with open_probe(audit_database, rate_limits=RateLimits(f"probe-{uuid4()}", HOUR, shared)) as running:
        yield running, proxy


async def statuses(probe: Probe, org_id: UUID, count: int, subject: str = "tester") -> list[int]:
    headers = bearer(READ, orgs=[org_id], subject=subject)
    return [(await probe.client.get(things(org_id), headers=headers)).status_code for _ in range(count)]


def standing(answer: httpx.Response) -> tuple[str, int, int]:
    """Kind, remaining requests and seconds until all of them, as `RateLimit` says."""
    kind, remaining, seconds = answer.headers["ratelimit"].split(";")
    return kind, int(remaining.removeprefix("r=")), int(seconds.removeprefix("t="))


async def test_a_caller_is_told_where_it_stands(
    limited: tuple[Probe, FaultProxy], org_id: UUID, audit_rows: AuditRows
) -> None:
    """On each answer, and with a refusal when to come back; the refusal is a problem and leaves no audit record."""
    probe, _ = limited
    headers = bearer(READ, orgs=[org_id])
    answers = [await probe.client.get(things(org_id), headers=headers) for _ in range(3)]
    refused = await probe.client.get(things(org_id), headers=headers)
    while refused.status_code == 200:  # a slow machine gave a request back meanwhile
        refused = await probe.client.get(things(org_id), headers=headers)

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert {answer.headers["ratelimit-policy"] for answer in (*answers, refused)} == {'"read";q=3;w=3'}
    assert standing(answers[0]) == ('"read"', 2, 1)
    kind, remaining, seconds = standing(refused)
    assert (kind, remaining) == ('"read"', 0)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "too-many-requests"
    assert 1 <= int(refused.headers["retry-after"]) <= seconds <= 3
    assert audit_rows(refused.headers["x-request-id"]) == []
    assert len(audit_rows(answers[0].headers["x-request-id"])) == 1


async def test_each_caller_has_a_limit_for_reads_and_one_for_writes(
    limited: tuple[Probe, FaultProxy], org_id: UUID
) -> None:
    """Whoever asks too often harms nobody else, nor what it wants to write; other roles are no way around it."""
    probe, _ = limited
    while 429 not in await statuses(probe, org_id, 4):
        pass

    assert await statuses(probe, org_id, 1, subject="another") == [200]
    headers = bearer(READ, WRITE, orgs=[org_id])
    written = await probe.client.post(things(org_id), json={"name": "a"}, headers=headers)
    assert (written.status_code, standing(written)[:2]) == (201, ('"write"', 2))
    read = await probe.client.get(things(org_id), headers=headers)
    assert standing(read)[1] < 2


async def test_what_needs_no_identity_has_no_limit(limited: tuple[Probe, FaultProxy], org_id: UUID) -> None:
    """Probes, Prometheus, the contract and questions for methods never get a 429, nor count as anything."""
    probe, _ = limited
    paths = ("/analytics/v1/status/healthz", "/analytics/v1/status/readyz", "/metrics", "/openapi/openapi.json")
    answers = [await probe.client.get(path) for path in paths for _ in range(5)]
    answers += [await probe.client.options(things(org_id)) for _ in range(5)]

    assert {answer.status_code for answer in answers} <= {200, 204}
    assert all("ratelimit" not in answer.headers for answer in answers)


async def test_callers_without_identity_share_one_limit(
    limited: tuple[Probe, FaultProxy], org_id: UUID, audit_rows: AuditRows
) -> None:
    """Guesses at tokens neither fill the audit trail nor keep a caller with an identity waiting."""
    probe, _ = limited
    guesses: tuple[dict[str, str], ...] = (bearer(READ, orgs=[org_id], key="another key for tests, of 32 bytes"), {})
    answers = [await probe.client.get(things(org_id), headers=guess) for guess in guesses * 10]

    assert [answer.status_code for answer in answers[:3]] == [401, 401, 401]
    assert standing(answers[0]) == ('"anonymous"', 2, 1)
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert audit_rows(refused.headers["x-request-id"]) == []
    assert await statuses(probe, org_id, 1) == [200]


async def test_without_redis_each_process_limits_and_then_all_do_again(
    limited: tuple[Probe, FaultProxy], org_id: UUID
) -> None:
    """Requests go on, limited still; when Redis is back, so is what it knew."""
    probe, proxy = limited
    assert await statuses(probe, org_id, 1) == [200]
    assert RATE_LIMITS_LOCAL._value.get() == 0

    proxy.refuse()
    proxy.cut()
    during = await statuses(probe, org_id, 4)
    assert during[:3] == [200, 200, 200]
    while 429 not in during:
        during = await statuses(probe, org_id, 4)
    assert RATE_LIMITS_LOCAL._value.get() == 1

    proxy.accept()
    back = await probe.client.get(things(org_id), headers=bearer(READ, orgs=[org_id]))
    assert (back.status_code, RATE_LIMITS_LOCAL._value.get()) == (200, 0)


async def test_a_frozen_redis_holds_up_one_request_and_no_more(
    proxied: tuple[SharedCells, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first finds out by waiting its 50 ms; until the pause is over nobody else asks."""
    monkeypatch.setattr(cells, "PAUSE_SECONDS", 3600.0)
    shared, proxy = proxied
    assert await shared.take(f"test:{uuid4()}", HOUR)
    proxy.freeze()
    shared._timeout_seconds = cells.TIMEOUT_SECONDS
    assert await shared.take(f"test:{uuid4()}", HOUR) is None
    shared._timeout_seconds = PATIENCE_S

    # Each would wait a minute if it asked.
    assert [await shared.take(f"test:{uuid4()}", HOUR) for _ in range(20)] == [None] * 20


async def test_a_redis_that_lost_its_scripts_gets_them_again(
    redis_url: str, proxied: tuple[SharedCells, FaultProxy]
) -> None:
    """As a restarted or replaced one has."""
    shared, _ = proxied
    key = f"test:{uuid4()}"
    assert await shared.take(key, HOUR)
    with Redis.from_url(redis_url) as redis:
        redis.script_flush()

    verdict = await shared.take(key, HOUR)
    assert verdict is not None
    assert verdict.allowed


async def test_redis_keeps_nothing_of_a_caller_whose_burst_is_whole_again(redis_url: str) -> None:
    """Memory is for those who call now."""
    key = f"test:{uuid4()}"
    async with shared_redis(redis_url) as redis:
        verdict = await SharedCells(redis, PATIENCE_S).take(key, Quota(per_second=1, burst=3000))
        left_ms = await redis.pttl(key)

        assert verdict is not None
        assert verdict.busy_us == 1_000_000
        assert -2 <= left_ms <= 1000


def test_keys_tell_nothing_of_who_calls() -> None:
    """They are the same for each order of organisations, whatever the roles, and differ between callers."""
    orgs = [uuid4() for _ in range(5)]
    mallory = Principal("mallory@example.com", frozenset({READ}), frozenset(orgs))
    key = fingerprint(mallory)

    assert fingerprint(Principal(mallory.subject, orgs=frozenset(reversed(orgs)))) == key
    assert fingerprint(Principal(mallory.subject)) != key
    assert fingerprint(Principal("alice", orgs=frozenset(orgs))) != key
    assert "mallory" not in key
    assert len(key) == 32
