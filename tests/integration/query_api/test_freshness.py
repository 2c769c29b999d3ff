"""Freshness: what is said about lag is true at the moment it is said, cached or not."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from tests.integration.query_api.conftest import Api, OpenApi
from tests.integration.query_api.numbers import NOW, Call, Numbers
from tests.support.callers import bearer

SECOND = timedelta(seconds=1)


@pytest_asyncio.fixture(loop_scope="session")
async def uncached(open_api: OpenApi) -> AsyncIterator[Api]:
    """An API without Redis: nothing listens at its address."""
    async with open_api(redis_url="redis://127.0.0.1:1/0") as running:
        yield running


async def freshness(api: Api, org_id: UUID, **parameters: Any) -> dict[str, Any]:
    response = await api.get(f"/orgs/{org_id}/freshness", **parameters)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_each_model_has_its_newest_event(uncached: Api, numbers: Numbers, org_id: UUID) -> None:
    numbers.note_freshness(org_id, "b", NOW - 30 * SECOND, NOW - 20 * SECOND)
    numbers.note_freshness(org_id, "a", NOW - 90 * SECOND, NOW - 10 * SECOND)

    body = await freshness(uncached, org_id)

    assert body == {
        "orgId": str(org_id),
        "status": "fresh",
        "lagSeconds": 0.0,
        "watermark": "2026-03-10T12:00:00Z",
        "lastEventAt": "2026-03-10T11:59:30Z",
        "lastRollupAt": "2026-03-10T11:59:50Z",
        "entries": [
            {
                "modelId": "a",
                "lastEventAt": "2026-03-10T11:58:30Z",
                "lastRollupAt": "2026-03-10T11:59:50Z",
                "lagSeconds": 0.0,
                "status": "fresh",
            },
            {
                "modelId": "b",
                "lastEventAt": "2026-03-10T11:59:30Z",
                "lastRollupAt": "2026-03-10T11:59:40Z",
                "lagSeconds": 0.0,
                "status": "fresh",
            },
        ],
    }


async def test_the_freshness_of_who_is_caught_up_is_not_sent_again(
    uncached: Api, numbers: Numbers, org_id: UUID
) -> None:
    """The watermark moves every second; that an older one holds, and that nothing is missing, stays true."""
    numbers.note_freshness(org_id, "a", NOW, NOW)
    path = f"/orgs/{org_id}/freshness"
    first = await uncached.get(path)
    headers = bearer("admin") | {"If-None-Match": first.headers["etag"]}

    numbers.set_watermark(NOW - 9 * SECOND)
    caught_up = await uncached.get(path, headers=headers)
    numbers.set_watermark(NOW - 11 * SECOND)
    behind = await uncached.get(path, headers=headers)
    numbers.set_watermark(NOW)

    assert (caught_up.status_code, behind.status_code) == (304, 200)
    assert behind.json()["lagSeconds"] == 11.0


async def test_a_filter_is_about_these_models_alone(uncached: Api, numbers: Numbers, org_id: UUID) -> None:
    numbers.note_freshness(org_id, "a", NOW - 90 * SECOND, NOW)
    numbers.note_freshness(org_id, "b", NOW - 30 * SECOND, NOW)

    body = await freshness(uncached, org_id, modelId=["a", "never-used"])
    nothing = await freshness(uncached, org_id, modelId="never-used")

    assert [entry["modelId"] for entry in body["entries"]] == ["a"]
    assert body["lastEventAt"] == "2026-03-10T11:58:30Z"
    assert (nothing["status"], nothing["lastEventAt"], nothing["entries"]) == ("unknown", None, [])


async def test_an_unknown_organisation_is_unknown_not_fresh(uncached: Api) -> None:
    """Nothing is invented: zero lag of nothing would look like a working pipeline."""
    body = await freshness(uncached, uuid4())

    assert {name for name, value in body.items() if value is None} == {
        "lagSeconds", "watermark", "lastEventAt", "lastRollupAt",
    }  # fmt: skip
    assert (body["status"], body["entries"]) == ("unknown", [])


@pytest.mark.parametrize(
    ("behind_s", "unfolded", "lag_s", "status"),
    [
        (9, False, 0.0, "fresh"),
        (9, True, 9.0, "fresh"),
        (11, False, 11.0, "fresh"),
        (299.5, False, 299.5, "fresh"),
        (300, False, 300.0, "stale"),
        (599, True, 599.0, "stale"),
        (600, False, 600.0, "delayed"),
        (-2, False, 0.0, "fresh"),
    ],
)
async def test_lag_is_the_age_of_the_watermark_unless_caught_up(
    uncached: Api, numbers: Numbers, org_id: UUID, behind_s: float, unfolded: bool, lag_s: float, status: str
) -> None:
    """Caught up is: nothing waits, and ingest has confirmed so within 10 s. A clock behind the broker's is no lag."""
    numbers.note_freshness(org_id, "a", NOW, NOW)
    watermark = NOW - behind_s * SECOND
    batch = numbers.commit_batch(watermark) if unfolded else None
    numbers.set_watermark(watermark)
    try:
        body = await freshness(uncached, org_id)
    finally:
        if batch:
            numbers.fold_batch(batch)
        numbers.set_watermark(NOW)

    assert (body["lagSeconds"], body["status"]) == (lag_s, status)


async def test_a_batch_that_waits_holds_the_watermark_back(uncached: Api, numbers: Numbers, org_id: UUID) -> None:
    numbers.note_freshness(org_id, "a", NOW, NOW)
    batch = numbers.commit_batch(NOW - 42 * SECOND)
    try:
        body = await freshness(uncached, org_id)
    finally:
        numbers.fold_batch(batch)

    assert (body["lagSeconds"], body["watermark"]) == (42.0, "2026-03-10T11:59:18Z")


async def test_without_a_watermark_lag_is_unknown_and_the_rest_is_known(
    uncached: Api, numbers: Numbers, org_id: UUID
) -> None:
    """A partition that nobody has ever read: what is in it, nobody can say."""
    numbers.note_freshness(org_id, "a", NOW, NOW)
    numbers.set_watermark(None)
    try:
        body = await freshness(uncached, org_id)
    finally:
        numbers.set_watermark(NOW)

    assert (body["status"], body["lagSeconds"], body["watermark"]) == ("unknown", None, None)
    assert body["lastEventAt"] == "2026-03-10T12:00:00Z"


async def test_usage_says_the_same_as_freshness(uncached: Api, numbers: Numbers, org_id: UUID) -> None:
    """Two truths about one pipeline would be one too many."""
    numbers.fold(org_id, [Call(at=NOW - 60 * SECOND)])
    batch = numbers.commit_batch(NOW - 7 * SECOND)
    try:
        own = await freshness(uncached, org_id)
        parameters: dict[str, Any] = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}
        usage = (await uncached.get(f"/orgs/{org_id}/usage", **parameters)).json()["freshness"]
        reliability = (await uncached.get(f"/orgs/{org_id}/reliability", **parameters)).json()["freshness"]
    finally:
        numbers.fold_batch(batch)

    assert usage == reliability == {name: own[name] for name in usage}
    assert usage["lagSeconds"] == 7.0
