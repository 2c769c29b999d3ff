"""What all answers have in common: conditional requests, compression, refusals that name the field."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.integration.query_api.conftest import Api
from tests.integration.query_api.numbers import NOW, Call, Numbers
from tests.support.callers import bearer

RANGE: dict[str, Any] = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}
SERIES = ["usage", "reliability"]


@pytest.mark.parametrize("report", [*SERIES, "reliability/errors", "dimensions/model"])
async def test_an_unchanged_report_is_not_sent_again(api: Api, numbers: Numbers, org_id: UUID, report: str) -> None:
    """A dashboard asks every few seconds. The watermark alone is no change: an older one is as true."""
    numbers.fold(org_id, [Call(at=NOW - timedelta(hours=3), status="error")])
    first = await api.get(f"/orgs/{org_id}/{report}", **RANGE)
    headers = bearer("admin") | {"If-None-Match": first.headers["etag"]}

    api.clock.now = NOW + timedelta(seconds=4)
    numbers.set_watermark(NOW + timedelta(seconds=3))
    try:
        same = await api.get(f"/orgs/{org_id}/{report}", headers=headers, **RANGE)
    finally:
        api.clock.now = NOW
        numbers.set_watermark(NOW)
    numbers.fold(org_id, [Call(at=NOW - timedelta(hours=2), model_id="new", status="error")])
    changed = await api.get(f"/orgs/{org_id}/{report}", headers=headers, **RANGE)

    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    assert same.headers["cache-control"] == first.headers["cache-control"] == "private, no-cache"
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_freshness_is_sent_again_whenever_it_says_something_else(
    api: Api, numbers: Numbers, org_id: UUID
) -> None:
    numbers.note_freshness(org_id, "a", NOW, NOW)
    first = await api.get(f"/orgs/{org_id}/freshness")
    headers = bearer("admin") | {"If-None-Match": f'"other", {first.headers["etag"]}'}

    same = await api.get(f"/orgs/{org_id}/freshness", headers=headers)
    api.clock.now = NOW + timedelta(seconds=11)
    try:
        later = await api.get(f"/orgs/{org_id}/freshness", headers=headers)
    finally:
        api.clock.now = NOW

    assert same.status_code == 304
    assert (later.status_code, later.json()["lagSeconds"]) == (200, 11.0)


async def test_one_callers_tag_says_nothing_about_another_organisation(
    api: Api, numbers: Numbers, org_id: UUID
) -> None:
    """A guessed or leaked tag must not turn 404 into 304."""
    numbers.fold(org_id, [Call(at=NOW - timedelta(hours=3))])
    etag = (await api.get(f"/orgs/{org_id}/usage", **RANGE)).headers["etag"]
    stranger = bearer("analytics:usage:read", orgs=[UUID(int=1)]) | {"If-None-Match": etag}

    assert (await api.get(f"/orgs/{org_id}/usage", headers=stranger, **RANGE)).status_code == 404


async def test_large_answers_are_compressed_for_those_who_can(api: Api, numbers: Numbers, org_id: UUID) -> None:
    numbers.fold(org_id, [Call(at=NOW - timedelta(hours=hour)) for hour in range(12)])

    packed = await api.get(f"/orgs/{org_id}/usage", **RANGE)
    plain = await api.get(f"/orgs/{org_id}/usage", headers=bearer("admin") | {"Accept-Encoding": "identity"}, **RANGE)

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert {"accept", "accept-encoding"} == set(packed.headers["vary"].lower().replace(" ", "").split(","))
    assert packed.json() == plain.json()


@pytest.mark.parametrize("report", SERIES)
@pytest.mark.parametrize(
    "changes",
    [
        {"start": "now"},
        {"end": "2026-03-10T00:00:00Z"},
        {"granularity": "week"},
        {"timezone": "Asia/Calcuta"},
        {"groupBy": "region"},
        {"limit": "10001"},
        {"cursor": "garbage"},
        {"modelId": ""},
        {"modelid": "gpt-4o"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_wrong_parameter_is_a_422_that_names_it(
    api: Api, org_id: UUID, report: str, changes: dict[str, str]
) -> None:
    response = await api.get(f"/orgs/{org_id}/{report}", **(RANGE | changes))

    problem = response.json()
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in problem["errors"]] == list(changes)
    assert (problem["type"], problem["code"]) == ("urn:analytics:problem:invalid-request", "invalid-request")
    assert problem["instance"] == response.headers["x-request-id"]


async def test_a_missing_range_names_both_ends(api: Api, org_id: UUID) -> None:
    problem = (await api.get(f"/orgs/{org_id}/usage")).json()

    assert [error["field"] for error in problem["errors"]] == ["start", "end"]


async def test_an_organisation_that_is_no_uuid_is_not_found(api: Api) -> None:
    response = await api.get("/orgs/acme/usage", **RANGE)

    assert (response.status_code, response.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("report", [*SERIES, "freshness"])
async def test_other_methods_are_refused_with_those_that_work(api: Api, org_id: UUID, report: str) -> None:
    response = await api.client.delete(f"/analytics/v1/orgs/{org_id}/{report}", headers=bearer("admin"))

    assert (response.status_code, response.json()["code"]) == (405, "method-not-allowed")
    assert response.headers["allow"] == "GET, OPTIONS"
