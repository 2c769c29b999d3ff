"""The service as its operator sees it: it starts without its servers, tells their state, and stops when asked."""

import signal
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.integration.query_api.numbers import NOW, Call, Numbers
from tests.support.callers import JWT_SECRET, bearer, token
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, RabbitMq

RANGE: dict[str, Any] = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}
Environment = Callable[..., dict[str, str]]


@pytest.fixture
def environment(database: Database, redis_url: str, rabbitmq: RabbitMq, free_port: Callable[[], int]) -> Environment:
    """The variables of a service that reaches everything, with changes."""

    def make(**changes: str) -> dict[str, str]:
        return {
            "ENVIRONMENT": "production",
            "HTTP_PORT": str(free_port()),
            "DATABASE_URL": database.dsn("analytics_query_api"),
            "REDIS_URL": redis_url,
            "RABBITMQ_URL": rabbitmq.amqp_url,
            "AUTH_JWT_SECRET": JWT_SECRET,
        } | changes

    return make


def test_it_answers_and_stops_at_once_when_asked(
    service_processes: ServiceProcesses, environment: Environment, numbers: Numbers, org_id: UUID
) -> None:
    numbers.fold(org_id, [Call(at=NOW)])
    service = service_processes.start("analytics-query-api", environment())

    response = httpx.get(
        f"{service.url}/analytics/v1/orgs/{org_id}/usage", params=RANGE, headers=bearer("admin"), trust_env=False
    )
    started = time.monotonic()

    assert response.json()["totals"]["invocations"] == 1
    assert service.stop() == 0
    assert time.monotonic() - started < 10
    assert token("admin")[:20] not in service.log()
    assert JWT_SECRET not in service.log()


def test_it_starts_without_any_of_its_servers_and_names_them(
    service_processes: ServiceProcesses, environment: Environment
) -> None:
    """A service that ends when the database is a minute late is started, and alarmed about, a dozen times."""
    service = service_processes.start(
        "analytics-query-api",
        environment(
            DATABASE_URL="postgres://u:hidden@127.0.0.1:1/d",
            REDIS_URL="redis://127.0.0.1:1/0",
            RABBITMQ_URL="amqp://u:hidden@127.0.0.1:1/",
        ),
        wait=False,
    )
    deadline = time.monotonic() + 60
    response = None
    while response is None:
        try:
            response = httpx.get(f"{service.url}/analytics/v1/status/readyz", trust_env=False, timeout=10)
        except httpx.TransportError:
            assert time.monotonic() < deadline, service.log()
            time.sleep(0.1)

    assert response.status_code == 503
    states = response.json()["dependencies"]
    assert set(states) == {"database", "redis", "rabbitmq"}
    assert "ok" not in states.values()
    for name in states:
        assert f'"dependency": "{name}"' in service.log()
    assert "hidden" not in service.log() + response.text
    assert service.stop() == 0


def test_a_request_under_way_is_finished_before_it_stops(
    service_processes: ServiceProcesses, environment: Environment, database: Database, org_id: UUID
) -> None:
    """A rolling update must not cost a single answer, nor the record of it."""
    import concurrent.futures

    import psycopg

    service = service_processes.start("analytics-query-api", environment())
    with concurrent.futures.ThreadPoolExecutor(1) as thread, psycopg.connect(database.owner_dsn) as blocker:
        blocker.execute("LOCK TABLE analytics.usage_hourly IN ACCESS EXCLUSIVE MODE")
        asked = thread.submit(
            httpx.get,
            f"{service.url}/analytics/v1/orgs/{org_id}/usage",
            params=RANGE,
            headers=bearer("admin"),
            trust_env=False,
            timeout=30,
        )
        with psycopg.connect(database.owner_dsn, autocommit=True) as observer:
            deadline = time.monotonic() + 20
            while not observer.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                assert time.monotonic() < deadline, service.log()
                time.sleep(0.05)
        service._send(signal.SIGTERM)
        time.sleep(0.3)
        blocker.rollback()
        answer = asked.result()

    assert answer.status_code == 200
    assert service.wait() == 0
    with psycopg.connect(database.owner_dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM analytics.audit_log WHERE request_id = %s", (answer.headers["x-request-id"],)
        ).fetchone()
    assert row == (1,)


def test_its_metrics_are_there_from_the_start(service_processes: ServiceProcesses, environment: Environment) -> None:
    """An alert on a metric that does not exist never fires."""
    service = service_processes.start("analytics-query-api", environment())
    httpx.get(f"{service.url}/analytics/v1/orgs/x/usage", trust_env=False)

    text = httpx.get(f"{service.url}/metrics", trust_env=False).text

    for name in (
        "http_requests_total",
        "http_requests_failed_total",
        "http_request_duration_seconds",
        "analytics_freshness_cache_hits_total",
        "analytics_freshness_cache_misses_total",
        "analytics_freshness_cache_errors_total",
        "analytics_query_waiting_requests",
        "analytics_query_refused_total",
    ):
        assert f"# TYPE {name} " in text, name
    assert 'route="unmatched"' in text
    assert "/orgs/x" not in text
