"""PostgreSQL away, slow or busy: no wrong answer, no hang, and word of what is the matter."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import psycopg
import pytest

from analytics_core.access import scope_for_accepted_job
from analytics_core.database import ReadDatabase, sessions_end_behind
from tests.integration.query_api.conftest import Api, OpenApi
from tests.integration.query_api.numbers import NOW, Call, Numbers
from tests.support.fault_proxy import FaultProxy
from tests.support.stack import Database

RANGE: dict[str, Any] = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}
READYZ = "/analytics/v1/status/readyz"


@asynccontextmanager
async def proxied(dsn: str) -> AsyncIterator[tuple[FaultProxy, str]]:
    """A way to the database that can be cut, and its DSN."""
    address = urlsplit(dsn)
    async with FaultProxy.open(address.hostname or "", address.port or 0) as proxy:
        login = address.netloc.rpartition("@")[0]
        yield proxy, urlunsplit(address._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))


async def status_until(api: Api, path: str, status: int, patience_s: float = 15) -> float:
    """Ask until the status comes; the seconds that it took."""
    started = time.monotonic()
    while (await api.client.get(path)).status_code != status:
        assert time.monotonic() - started < patience_s
        await asyncio.sleep(0.05)
    return time.monotonic() - started


@pytest.mark.parametrize("route", ["usage", "reliability", "freshness"])
async def test_without_a_database_there_is_a_503_and_no_data(
    open_api: OpenApi, database: Database, numbers: Numbers, org_id: UUID, route: str
) -> None:
    """And everything works again when it is back, without a restart."""
    numbers.fold(org_id, [Call(at=NOW)])
    parameters = {} if route == "freshness" else RANGE
    async with proxied(database.dsn("analytics_query_api")) as (proxy, dsn), open_api(database_url=dsn) as api:
        assert (await api.get(f"/orgs/{org_id}/{route}", **parameters)).status_code == 200
        proxy.refuse()

        refused = await api.get(f"/orgs/{org_id}/{route}", **parameters)

        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) > 0
        assert str(org_id) not in refused.text
        await status_until(api, READYZ, 503)
        assert (await api.client.get("/analytics/v1/status/healthz")).status_code == 200

        proxy.accept()
        await status_until(api, READYZ, 200)
        assert (await api.get(f"/orgs/{org_id}/{route}", **parameters)).status_code == 200


async def test_an_answer_without_a_record_does_not_leave(
    open_api: OpenApi, database: Database, numbers: Numbers, org_id: UUID
) -> None:
    """The replica answers, the primary cannot take the record: 503, and not one number in it."""
    numbers.fold(org_id, [Call(at=NOW, model_id="secret-model")])
    direct = database.dsn("analytics_query_api")
    async with proxied(direct) as (proxy, dsn), open_api(database_url=dsn, database_read_url=direct) as api:
        assert (await api.get(f"/orgs/{org_id}/usage", groupBy="model", **RANGE)).status_code == 200
        proxy.refuse()

        refused = await api.get(f"/orgs/{org_id}/usage", groupBy="model", **RANGE)

    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert "secret-model" not in refused.text
    assert "audit" in refused.json()["detail"]


async def test_the_replica_is_a_dependency_of_its_own(open_api: OpenApi, database: Database) -> None:
    direct = database.dsn("analytics_query_api")
    async with proxied(direct) as (proxy, dsn), open_api(database_url=direct, database_read_url=dsn) as api:
        proxy.refuse()
        await status_until(api, READYZ, 503)

        states = (await api.client.get(READYZ)).json()["dependencies"]

    assert states["database"] == "ok"
    assert states["database-read"] != "ok"


async def test_a_query_that_takes_too_long_is_cancelled_and_says_so(
    open_api: OpenApi, database: Database, org_id: UUID
) -> None:
    """A lock that nobody releases must not hold the request, nor the connection."""
    with psycopg.connect(database.owner_dsn) as blocker:
        blocker.execute("LOCK TABLE analytics.usage_hourly IN ACCESS EXCLUSIVE MODE")
        async with open_api(query_timeout="200ms") as api:
            started = time.monotonic()
            response = await api.get(f"/orgs/{org_id}/usage", **RANGE)
            took_s = time.monotonic() - started

    assert (response.status_code, response.json()["code"]) == (503, "query-timeout")
    assert took_s < 5


async def test_too_many_waiting_are_told_to_come_back(
    open_api: OpenApi, database: Database, org_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that nobody will wait for must not pile up in memory."""
    monkeypatch.setattr("analytics_query_api.reader.WAITING_QUERIES_MAX", 2)
    with psycopg.connect(database.owner_dsn) as blocker:
        blocker.execute("LOCK TABLE analytics.usage_hourly IN ACCESS EXCLUSIVE MODE")
        async with open_api(database_pool_size=1, query_timeout="2s") as api:
            running = [asyncio.create_task(api.get(f"/orgs/{org_id}/usage", **RANGE)) for _ in range(3)]
            await asyncio.sleep(0.5)

            refused = await api.get(f"/orgs/{org_id}/usage", **RANGE)
            blocker.rollback()
            answers = await asyncio.gather(*running)

    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "unavailable", "1")
    assert [answer.status_code for answer in answers] == [200, 200, 200]


async def test_who_waits_too_long_is_told_so(
    open_api: OpenApi, database: Database, org_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics_query_api.reader.WAITING_SECONDS_MAX", 0.1)
    with psycopg.connect(database.owner_dsn) as blocker:
        blocker.execute("LOCK TABLE analytics.usage_hourly IN ACCESS EXCLUSIVE MODE")
        async with open_api(database_pool_size=1, query_timeout="1s") as api:
            first, second = await asyncio.gather(*(api.get(f"/orgs/{org_id}/usage", **RANGE) for _ in range(2)))

    assert {first.json()["code"], second.json()["code"]} == {"query-timeout", "unavailable"}


async def test_the_pool_for_reading_cannot_write(database: Database) -> None:
    """A defect in a query must not become one in the data, not even with an owner's rights."""
    async with ReadDatabase.open(database.owner_dsn, application_name="test", pool_size=1) as pool:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with pool.read() as session:
                await session.fetch("DELETE FROM analytics.usage_hourly")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with pool._pool.acquire() as connection:
                await connection.execute("DELETE FROM analytics.usage_hourly")


async def test_what_was_read_stays_true_when_its_session_is_lost(database: Database) -> None:
    """An answer does not depend on the end of its transaction; the next one gets a connection that works."""
    async with ReadDatabase.open(database.owner_dsn, application_name="test", pool_size=1) as pool:
        async with sessions_end_behind(), pool.read() as session:
            lost = await session.fetch_value("SELECT pg_backend_pid()")
            with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", (lost,))
        async with pool.read() as session:
            found = await session.fetch_value("SELECT pg_backend_pid()")

    assert found != lost


async def test_nothing_of_a_session_is_left_to_the_next_one(database: Database, org_id: UUID) -> None:
    """They share a connection, and neither the organisation nor the snapshot."""
    facts = "SELECT pg_backend_pid(), current_setting('app.org_id', true), now()"
    async with ReadDatabase.open(database.owner_dsn, application_name="test", pool_size=1) as pool:
        async with pool.read(scope_for_accepted_job(org_id), repeatable=True) as session:
            (first,) = await session.fetch(facts)
        async with pool.read() as session:
            (second,) = await session.fetch(facts)

    assert (first[0], first[1], second[1]) == (second[0], str(org_id), "")
    assert second[2] > first[2]


async def test_sessions_have_ended_when_the_request_has(database: Database) -> None:
    """An answer does not wait for the end of its session; the request does, so that nothing of it is left behind."""
    async with ReadDatabase.open(database.owner_dsn, application_name="test", pool_size=1) as pool:
        async with sessions_end_behind():
            async with pool.read() as session:
                await session.fetch_value("SELECT 1")
            free_at_the_answer = pool._pool.get_idle_size()
        free_behind_it = pool._pool.get_idle_size()

    assert (free_at_the_answer, free_behind_it) == (0, 1)
