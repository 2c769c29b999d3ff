"""The outermost layer: request ids that can be trusted, metrics that stay small."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from tests.integration.http_core.probe import Probe
from tests.support.callers import bearer


def requests_counted(**labels: str) -> float:
    return REGISTRY.get_sample_value("http_requests_total", labels) or 0.0


async def test_a_callers_request_id_is_kept(probe: Probe) -> None:
    """It is what they will quote."""
    response = await probe.client.get("/conflict", headers={"X-Request-Id": "trace-1:a.B_2"})

    assert response.headers.get_list("x-request-id") == ["trace-1:a.B_2"]
    assert response.json()["instance"] == "trace-1:a.B_2"


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\tb", '"; DROP TABLE', "ä"])
async def test_what_is_no_request_id_gets_a_new_one(probe: Probe, given: str) -> None:
    """It ends up in logs, tables and headers."""
    response = await probe.client.get("/conflict", headers={b"X-Request-Id": given.encode("latin-1")})

    assert len(response.headers["x-request-id"]) == 36


async def test_requests_are_counted_by_route_not_by_path(probe: Probe) -> None:
    """A scanner that asks for a million paths must not make a million time series."""
    route = "/analytics/v1/orgs/{orgId}/things"
    before = requests_counted(method="GET", route=route, status="401")
    unmatched = requests_counted(method="GET", route="unmatched", status="404")

    for number in range(3):
        await probe.client.get(f"/analytics/v1/orgs/00000000-0000-0000-0000-00000000000{number}/things")
        await probe.client.get(f"/wp-admin/{number}")

    assert requests_counted(method="GET", route=route, status="401") == before + 3
    assert requests_counted(method="GET", route="unmatched", status="404") == unmatched + 3


async def test_methods_that_nobody_knows_share_a_label(probe: Probe) -> None:
    before = requests_counted(method="other", route="unmatched", status="404")

    for number in range(3):
        await probe.client.request(f"BREW{number}", "/nowhere")

    assert requests_counted(method="other", route="unmatched", status="404") == before + 3


async def test_a_failure_is_counted_as_one_and_a_refusal_is_not(probe: Probe) -> None:
    """The alert on the error rate is about the service, not about its callers."""

    def failed(route: str, status: str) -> float:
        return (
            REGISTRY.get_sample_value("http_requests_failed_total", {"method": "GET", "route": route, "status": status})
            or 0.0
        )

    before = failed("/defect", "500")

    await probe.client.get("/defect")
    await probe.client.get("/conflict")

    assert failed("/defect", "500") == before + 1
    assert failed("/conflict", "409") == 0


async def test_a_caller_who_has_gone_is_no_failure(probe: Probe) -> None:
    before = requests_counted(method="GET", route="/slow", status="499")
    request = asyncio.create_task(probe.client.get("/slow", headers=bearer("admin")))
    await asyncio.sleep(0.1)

    request.cancel()
    await asyncio.gather(request, return_exceptions=True)

    assert requests_counted(method="GET", route="/slow", status="499") == before + 1
