"""Usage by the hour over several days: what has not changed is not read again, what has changed always is."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prometheus_client import REGISTRY

from tests.integration.query_api.conftest import Api, OpenApi
from tests.integration.query_api.numbers import NOW, Call, Numbers
from tests.support.stack import Database

FIRST_DAY = NOW.replace(hour=0) - timedelta(days=3)
# From the middle of a day to the middle of a day.
RANGE: dict[str, Any] = {"start": "2026-03-07T06:00:00Z", "end": "2026-03-10T06:00:00Z", "groupBy": "model"}
NUMBERS = (
    *("invocations", "error_count", "timeout_count", "throttled_count", "input_tokens", "output_tokens"),
    *("cached_input_tokens", "reasoning_tokens", "cost_microcents", "revision"),
)
REVISED = "revision = revision + 1, revised_at = '2026-03-09T00:00:00Z'"
# To an hour, and to its day: a fold adds the same to both, a repair of hours alone revises the day.
CHANGES = {
    **{name: (f"{name} = {name} + 1",) * 2 for name in NUMBERS},
    "revised_at": ("revised_at = '2026-03-09T00:00:00.000001Z'",) * 2,
    "two numbers": ("input_tokens = input_tokens + 1, output_tokens = output_tokens - 1",) * 2,
    "another model": ("model_id = 'another'",) * 2,
    "another hour": ("bucket_start = bucket_start + interval '1 hour'", REVISED),
    "the hour alone": ("input_tokens = 12345", REVISED),
}


@pytest.fixture
def known(numbers: Numbers, org_id: UUID) -> UUID:
    """An organisation with two models in some hours of four days."""
    hours = (0, 7, 8, 30, 31, 50, 55, 73, 77, 80)
    numbers.fold(
        org_id,
        [
            Call(at=FIRST_DAY + timedelta(hours=hour, minutes=5), model_id=model, input_tokens=hour + number)
            for hour in hours
            for number, model in enumerate(("a", "b"))
        ],
    )
    return org_id


@contextmanager
def days(kind: str, count: int) -> Iterator[None]:
    """So many days are `read` or `held` meanwhile."""
    name = f"analytics_query_days_{kind}_total"
    before = REGISTRY.get_sample_value(name) or 0
    yield
    assert (REGISTRY.get_sample_value(name) or 0) - before == count


def change_hour_and_day(database: Database, org_id: UUID, hour: str, day: str) -> None:
    """Of model `a`, on the second day."""
    with psycopg.connect(database.superuser_dsn) as connection:
        for table, change, hours in (("usage_hourly", hour, 31), ("usage_daily", day, 24)):
            changed = connection.execute(
                f"UPDATE analytics.{table} SET {change} WHERE org_id = %s AND model_id = 'a' AND bucket_start = %s",
                [org_id, FIRST_DAY + timedelta(hours=hours)],
            )
            assert changed.rowcount == 1


async def page_by_page(api: Api, org_id: UUID, **parameters: Any) -> list[Any]:
    """The same series in pages of three, which are always read."""
    points: list[Any] = []
    cursor: dict[str, Any] = {}
    while True:
        body = (await api.get(f"/orgs/{org_id}/usage", **RANGE, limit=3, **cursor, **parameters)).json()
        points += body["series"]
        if body["nextCursor"] is None:
            return points
        cursor = {"cursor": body["nextCursor"]}


async def test_a_series_of_days_is_the_series_of_its_pages(api: Api, known: UUID) -> None:
    """Read or held, it makes no difference to the caller; the ends cut their days."""
    first = await api.get(f"/orgs/{known}/usage", **RANGE)
    with days("held", 4), days("read", 0):
        second = await api.get(f"/orgs/{known}/usage", **RANGE)

    assert first.text == second.text
    assert first.headers["etag"] == second.headers["etag"]
    body = first.json()
    assert len(body["series"]) == 16
    assert body["series"] == await page_by_page(api, known)
    assert body["nextCursor"] is None
    (totals,) = [(await api.get(f"/orgs/{known}/usage", **RANGE, limit=3)).json()["totals"]]
    assert body["totals"] == totals


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_changes_a_day_it_is_read_again(
    api: Api, open_api: OpenApi, known: UUID, database: Database, change: str
) -> None:
    """As if nothing were held, and only that day."""
    await api.get(f"/orgs/{known}/usage", **RANGE)
    change_hour_and_day(database, known, *CHANGES[change])

    with days("read", 1), days("held", 3):
        after = await api.get(f"/orgs/{known}/usage", **RANGE)

    async with open_api() as fresh:
        assert after.text == (await fresh.get(f"/orgs/{known}/usage", **RANGE)).text
    assert after.json()["series"] == await page_by_page(api, known)


async def test_a_day_that_comes_or_goes_is_seen(api: Api, known: UUID, numbers: Numbers, database: Database) -> None:
    """Late events of a day without any, and an erasure."""
    await api.get(f"/orgs/{known}/usage", **RANGE)
    with psycopg.connect(database.superuser_dsn) as connection:
        for table in ("usage_hourly", "usage_daily"):
            connection.execute(
                f"DELETE FROM analytics.{table} WHERE org_id = %s AND bucket_start >= %s AND bucket_start < %s",
                [known, FIRST_DAY + timedelta(days=1), FIRST_DAY + timedelta(days=2)],
            )

    gone = (await api.get(f"/orgs/{known}/usage", **RANGE)).json()["series"]
    numbers.fold(known, [Call(at=FIRST_DAY + timedelta(hours=40), model_id="late")])
    back = (await api.get(f"/orgs/{known}/usage", **RANGE)).json()["series"]

    assert not [point for point in gone if point["bucketStart"].startswith("2026-03-08")]
    assert [point["modelId"] for point in back if point["bucketStart"].startswith("2026-03-08")] == ["late"]


async def test_hours_without_their_day_are_not_left_out(api: Api, known: UUID, database: Database) -> None:
    """A day that is missing is drift, which reconcile finds: what the answer is made of is the hours."""
    before = (await api.get(f"/orgs/{known}/usage", **RANGE)).json()["series"]
    with psycopg.connect(database.superuser_dsn) as connection:
        connection.execute("DELETE FROM analytics.usage_daily WHERE org_id = %s", [known])

    with days("read", 4), days("held", 0):
        assert (await api.get(f"/orgs/{known}/usage", **RANGE)).json()["series"] == before


async def test_days_without_calls_are_held_until_there_is_one(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """An idle organisation costs one small query, and its next event is seen."""
    numbers.fold(org_id, [Call(at=FIRST_DAY - timedelta(days=9))])
    await api.get(f"/orgs/{org_id}/usage", **RANGE)
    with days("held", 4), days("read", 0):
        assert (await api.get(f"/orgs/{org_id}/usage", **RANGE)).json()["series"] == []
    numbers.fold(org_id, [Call(at=FIRST_DAY + timedelta(hours=40))])

    with days("held", 3), days("read", 1):
        assert len((await api.get(f"/orgs/{org_id}/usage", **RANGE)).json()["series"]) == 1


async def test_a_held_day_is_finalized_when_its_time_has_come(api: Api, known: UUID, numbers: Numbers) -> None:
    """Nothing changes in its rows, but what is said about them does: 07:00 of the 9th is finalized then."""
    watermark = FIRST_DAY + timedelta(days=2, hours=8, minutes=15)
    try:
        numbers.set_watermark(watermark - timedelta(microseconds=1))
        before = (await api.get(f"/orgs/{known}/usage", **RANGE)).json()["series"]
        numbers.set_watermark(watermark)
        after = (await api.get(f"/orgs/{known}/usage", **RANGE)).json()["series"]
    finally:
        numbers.set_watermark(NOW)

    def estimated(points: list[Any]) -> set[str]:
        return {point["bucketStart"] for point in points if point["confidence"] == "estimated"}

    assert estimated(before) - estimated(after) == {"2026-03-09T07:00:00Z"}
    assert "2026-03-10T05:00:00Z" in estimated(after)


async def test_questions_that_differ_share_no_days(api: Api, known: UUID) -> None:
    """Other organisation, filter or time zone: other points."""
    everything = (await api.get(f"/orgs/{known}/usage", **RANGE)).json()

    nobody = (await api.get(f"/orgs/{uuid4()}/usage", **RANGE)).json()
    one = (await api.get(f"/orgs/{known}/usage", modelId="b", **RANGE)).json()
    there = (await api.get(f"/orgs/{known}/usage", timezone="Asia/Tokyo", **RANGE)).json()

    assert nobody["series"] == []
    assert one["series"] == [point for point in everything["series"] if point["modelId"] == "b"]
    assert there["series"][0]["bucketStart"] == "2026-03-07T16:00:00+09:00"
    assert len(there["series"]) == len(everything["series"])


async def test_the_period_before_stands_beside_held_days(api: Api, known: UUID) -> None:
    """compare=previous is read each time."""
    body = (await api.get(f"/orgs/{known}/usage", compare="previous", **RANGE)).json()

    assert body["previous"]["end"] == RANGE["start"]
    assert body["previous"]["totals"]["invocations"] == 2


async def test_more_points_than_a_page_are_read_as_pages(api: Api, known: UUID) -> None:
    """Days are read where they fit a page for sure: two models in each of 72 hours."""
    with days("held", 0), days("read", 0):
        short = (await api.get(f"/orgs/{known}/usage", limit=15, **RANGE)).json()
        maybe = (await api.get(f"/orgs/{known}/usage", limit=143, **RANGE)).json()
    with days("read", 4):
        whole = (await api.get(f"/orgs/{known}/usage", limit=144, **RANGE)).json()

    assert len(short["series"]) == 15
    assert maybe["series"] == whole["series"]
    assert short["nextCursor"] is not None
    assert whole["series"][:15] == short["series"]
    assert whole["nextCursor"] is None
