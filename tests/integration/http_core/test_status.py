"""Liveness, readiness and metrics."""

import asyncio

import pytest

from analytics_core.database import WriteDatabase
from analytics_core.lifecycle import Dependency
from tests.integration.http_core.probe import Probe, open_probe

READYZ = "/analytics/v1/status/readyz"


async def answers() -> None:
    """A server that is there."""


async def refuses() -> None:
    raise ConnectionRefusedError("postgres://user:hunter2@db.internal refused")


async def hangs() -> None:
    await asyncio.sleep(60)


async def test_a_process_is_alive_whatever_its_servers_do(audit_database: WriteDatabase) -> None:
    """A restart mends no database."""
    async with open_probe(audit_database, checks={"database": Dependency(refuses)}) as probe:
        response = await probe.client.get("/analytics/v1/status/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("checks", "status", "dependencies"),
    [
        ({"database": Dependency(answers)}, 200, {"database": "ok"}),
        (
            {"database": Dependency(answers), "redis": Dependency(refuses, required=False)},
            200,
            {"database": "ok", "redis": "ConnectionRefusedError: postgres://user:[redacted]@db.internal refused"},
        ),
        (
            {"database": Dependency(refuses), "redis": Dependency(answers, required=False)},
            503,
            {"database": "ConnectionRefusedError: postgres://user:[redacted]@db.internal refused", "redis": "ok"},
        ),
        ({"database": Dependency(hangs)}, 503, {"database": "no answer within 0.2 s"}),
    ],
)
async def test_readiness_tells_the_state_of_each_dependency(
    audit_database: WriteDatabase,
    monkeypatch: pytest.MonkeyPatch,
    checks: dict[str, Dependency],
    status: int,
    dependencies: dict[str, str],
) -> None:
    """Not ready is who cannot work; who only works worse says so and stays."""
    monkeypatch.setattr("analytics_core.lifecycle.Dependencies.CHECK_TIMEOUT_SECONDS", 0.2)
    async with open_probe(audit_database, checks=checks) as probe:
        response = await probe.client.get(READYZ)

    assert response.status_code == status
    assert response.json() == {"status": "ready" if status == 200 else "not ready", "dependencies": dependencies}
    assert response.headers["cache-control"] == "no-store"


async def test_metrics_are_prometheus_text_and_no_part_of_the_contract(probe: Probe) -> None:
    response = await probe.client.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE http_requests_total counter" in response.text
    assert "/metrics" not in (probe.app.openapi_schema.paths or {})


async def test_the_contract_can_be_fetched(probe: Probe) -> None:
    response = await probe.client.get("/openapi/openapi.json")

    assert response.json()["openapi"] == "3.1.0"
    assert "/analytics/v1/orgs/{orgId}/things" in response.json()["paths"]
