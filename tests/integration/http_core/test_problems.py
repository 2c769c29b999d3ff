"""Every error is a problem: RFC 9457, stable codes, the request's id, and nothing of the inside."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.integration.http_core.probe import BODY_BYTES_MAX, Probe, things
from tests.support.callers import bearer

ADMIN = bearer("admin")
JSON = {"Content-Type": "application/json"}


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The parts that every problem has."""
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert problem["type"] == f"urn:analytics:problem:{code}"
    assert problem["instance"] == response.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nowhere", 404, "not-found"),
        ("/analytics/v1/orgs/not-a-uuid/things", 404, "not-found"),
        ("/busy", 429, "too-many-requests"),
        ("/conflict", 409, "conflict"),
        ("/defect", 500, "internal"),
        ("/away", 503, "unavailable"),
        ("/database/cancelled", 503, "unavailable"),
        ("/database/locked", 503, "unavailable"),
        ("/database/deadlock", 503, "unavailable"),
        ("/database/standby", 503, "unavailable"),
    ],
)
async def test_an_error_has_its_status_and_code(probe: Probe, path: str, status: int, code: str) -> None:
    assert_problem(await probe.client.get(path, headers=ADMIN), status, code)


@pytest.mark.parametrize("path", ["/defect", "/away", "/database/locked"])
async def test_nothing_of_the_inside_comes_out(probe: Probe, path: str) -> None:
    """Messages of exceptions hold paths, SQL and passwords."""
    text = (await probe.client.get(path)).text

    assert "hunter2" not in text
    assert "Error" not in text.replace("Internal error", "")
    assert "Traceback" not in text


async def test_what_helps_later_says_when(probe: Probe) -> None:
    assert (await probe.client.get("/busy")).headers["retry-after"] == "3"
    for path in ("/away", "/database/cancelled", "/database/standby"):
        assert int((await probe.client.get(path)).headers["retry-after"]) > 0


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "HEAD", "BREW"])
async def test_a_wrong_method_learns_the_right_ones(probe: Probe, org_id: UUID, method: str) -> None:
    response = await probe.client.request(method, things(org_id), headers=ADMIN)

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "OPTIONS", "POST"}
    if method != "HEAD":
        assert response.headers["allow"] in assert_problem(response, 405, "method-not-allowed")["detail"]


async def test_options_needs_no_identity_and_tells_nothing_else(probe: Probe, org_id: UUID) -> None:
    response = await probe.client.options(things(org_id))

    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "GET, OPTIONS, POST"


async def test_a_wrong_query_parameter_is_named(probe: Probe, org_id: UUID) -> None:
    problem = assert_problem(
        await probe.client.get(things(org_id), params={"count": "many"}, headers=ADMIN), 422, "invalid-request"
    )

    assert [error["field"] for error in problem["errors"]] == ["count"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b'{"count": 2}', "name"),
        (b'{"name": 1}', "name"),
        (b'{"name": "a", "count": "b"}', "count"),
        (b'{"name": "a", "other": 1}', "other"),
        (b"[]", "body"),
    ],
)
async def test_a_wrong_body_is_named_by_its_field(probe: Probe, org_id: UUID, body: bytes, field: str) -> None:
    """With the name that the caller wrote, also after somebody has asked for the OpenAPI document."""
    response = await probe.client.post(things(org_id), content=body, headers=ADMIN | JSON)

    problem = assert_problem(response, 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("body", [b"{", b'{"name": "a"', b"\xff\xfe", b"name=a", b'{"name": "\x00"}', b"NaN"])
async def test_a_body_that_is_no_json_is_refused(probe: Probe, org_id: UUID, body: bytes) -> None:
    assert_problem(await probe.client.post(things(org_id), content=body, headers=ADMIN | JSON), 422, "invalid-request")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_not_read_on(probe: Probe, org_id: UUID, announced: bool) -> None:
    """Neither a length that is said nor one that is hidden may fill the memory."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * BODY_BYTES_MAX:
            sent += 1_000
            yield b" " * 1_000

    content = b" " * (BODY_BYTES_MAX + 1) if announced else endless()
    response = await probe.client.post(things(org_id), content=content, headers=ADMIN | JSON)

    assert_problem(response, 413, "too-large")
    assert sent <= 2 * BODY_BYTES_MAX


async def test_who_may_not_ask_learns_nothing_from_a_wrong_request(probe: Probe, org_id: UUID) -> None:
    """Validation comes after the decision, or 422 and 404 would tell what exists."""
    response = await probe.client.post(
        things(org_id), content=b"{", headers=bearer("analytics:exports:create", orgs=[UUID(int=1)]) | JSON
    )

    assert_problem(response, 404, "not-found")
