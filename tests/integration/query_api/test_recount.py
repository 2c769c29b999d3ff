"""Any question of the API against a recount from the events: zones, grains, groups, filters and pages at random."""

import csv
import io
import json
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from math import ceil
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
import pytest_asyncio

from analytics_core.database import WriteDatabase
from analytics_core.families import QUARTER
from analytics_core.histogram import RELATIVE_ERROR_MAX
from analytics_rollup.days import close_day
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, fold
from tests.integration.query_api.conftest import Api, OpenApi
from tests.support.batches import StoredEvent, in_batches, random_events, store
from tests.support.callers import bearer
from tests.support.stack import Database

# Berlin changes on March 29, Lord Howe (by half an hour) on April 5; Cairo's day of April 24 begins at 01:00.
FIRST, LENGTH = datetime(2026, 3, 24, tzinfo=UTC), timedelta(days=33)
CLOSED_THROUGH = FIRST + timedelta(days=8)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Cairo",
]
FIELDS = {
    "model": "modelId",
    "client": "clientId",
    "actor": "actorId",
    "status": "status",
    "errorCode": "errorCode",
    "project": "project",
}
FILTERS = {
    "model": ["provider/model-1", "provider/model-3"],
    "client": ["key-1"],
    "status": ["error", "success"],
    "errorCode": ["rate_limited"],
    "project": ["x" * 200, "checkout"],
    "actor": ["a,b"],
}
CUT_HOURS = {"Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"}
Label = tuple[object, ...]


@dataclass(frozen=True)
class Filled:
    """An API over a database with these events, all folded, some days of the families closed."""

    api: Api
    org_id: UUID
    events: Sequence[StoredEvent]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def filled(make_database: Callable[..., Database], open_api: OpenApi) -> AsyncIterator[Filled]:
    place = make_database()
    rng = random.Random(4711)
    events = [*random_events(rng, 2_000, FIRST, LENGTH, orgs=2, models=4)]
    store(place.dsn("analytics_ingest"), in_batches(events, 1_000))
    with psycopg.connect(place.superuser_dsn, autocommit=True) as owner:
        owner.execute("UPDATE analytics.rollup_progress SET daily_through = %s", (FIRST,))
    async with WriteDatabase.open(place.dsn("analytics_rollup"), application_name="test", pool_size=2) as database:
        while await fold(database, Claim()) or await fold_dimensions(database, Claim()):
            pass
        await _close_days(database, place)
    async with open_api(database_url=place.dsn("analytics_query_api")) as api:
        yield Filled(api, events[0].org_id, [event for event in events if event.org_id == events[0].org_id])


@pytest.mark.parametrize("seed", range(20))
async def test_a_series_equals_a_recount(filled: Filled, seed: int) -> None:
    rng = random.Random(seed)
    question = Question.random(rng)
    expected = question.recount(filled.events)

    pages = [page async for page in read_pages(filled, "usage", question, len(expected) // 3 + 1)]

    found = {question.key(point): numbers(point) for page in pages for point in page["series"]}
    assert found == {key: added_up(events) for key, events in expected.items()}
    assert sum(len(page["series"]) for page in pages) == len(expected)
    everything = added_up([event for events in expected.values() for event in events])
    assert all(numbers(page["totals"]) == everything for page in pages)


@pytest.mark.parametrize("seed", range(20, 30))
async def test_percentiles_are_those_of_the_calls(filled: Filled, seed: int) -> None:
    rng = random.Random(seed)
    question = Question.random(rng)
    expected = question.recount(filled.events)

    pages = [page async for page in read_pages(filled, "reliability", question, 10_000)]

    points = [point for page in pages for point in page["series"]]
    assert len(points) == len(expected)
    for point in points:
        assert_percentiles(point, expected[question.key(point)])
    assert_percentiles(pages[0]["totals"], [event for events in expected.values() for event in events])


async def read_pages(filled: Filled, report: str, question: "Question", limit: int) -> AsyncIterator[dict[str, Any]]:
    cursor: dict[str, Any] = {}
    while True:
        response = await filled.api.get(
            f"/orgs/{filled.org_id}/{report}", **question.parameters(), limit=limit, **cursor
        )
        assert response.status_code == 200, (response.text, question)
        page = json.loads(response.text, parse_float=Decimal)
        yield page
        if page["nextCursor"] is None:
            return
        cursor = {"cursor": page["nextCursor"]}


def numbers(point: dict[str, Any]) -> tuple[object, ...]:
    names = ("invocations", "successCount", "errorCount", "timeoutCount", "throttledCount")
    tokens = ("inputTokens", "outputTokens", "cachedInputTokens", "reasoningTokens")
    return (*(point[name] for name in (*names, *tokens)), Decimal(point["costEstimateCents"]))


def added_up(events: Sequence[StoredEvent]) -> tuple[object, ...]:
    statuses = [
        sum(event.status == status for event in events) for status in ("success", "error", "timeout", "throttled")
    ]
    tokens = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
    cost = Decimal(sum(event.cost_microcents for event in events)) / 1_000_000
    return (len(events), *statuses, *(sum(getattr(event, name) for event in events) for name in tokens), cost)


def assert_percentiles(point: dict[str, Any], events: Sequence[StoredEvent]) -> None:
    latencies = sorted(event.latency_ms for event in events)
    for percent in (50, 90, 95, 99):
        found = point["latencyMs"][f"p{percent}"]
        if not latencies:
            assert found is None
            continue
        exact = latencies[ceil(len(latencies) * percent / 100) - 1]
        assert abs(float(found) - exact) <= exact * RELATIVE_ERROR_MAX + 0.005, (found, exact)


@dataclass(frozen=True)
class Question:
    """What is asked, and how to answer it from events: buckets are found by looking at a clock of the zone."""

    start: datetime
    end: datetime
    zone: str
    granularity: str
    group_by: tuple[str, ...]
    filters: dict[str, list[str]]

    @classmethod
    def random(cls, rng: random.Random) -> "Question":
        group_by = tuple(name for name in FIELDS if rng.random() < 0.25)
        filters = {name: values for name, values in FILTERS.items() if rng.random() < 0.15}
        days = rng.uniform(0.1, 40)
        start = FIRST + timedelta(seconds=rng.randrange(-86_400, 30 * 86_400))
        granularity = rng.choice(["hour", "day", "month"])
        if granularity == "month":
            start = FIRST - timedelta(days=rng.uniform(0, 40))
        # A range in which no bucket starts is refused.
        days = max(days, {"hour": 0, "day": 1.1, "month": 31.1}[granularity])
        zone, asked = rng.choice(ZONES), {*group_by, *filters}
        # What is counted from single events has a shorter range.
        if asked & {"client", "project"} and "actor" in asked:
            days, granularity = min(days, 6.9), "hour"
        elif asked - {"model"} and granularity == "hour" and zone in CUT_HOURS:
            days = min(days, 6.9)
        return cls(start, start + timedelta(days=days), zone, granularity, group_by, filters)

    def parameters(self) -> dict[str, Any]:
        names = {FIELDS[name]: values for name, values in self.filters.items()}
        grouped = {"groupBy": ",".join(self.group_by)} if self.group_by else {}
        times = {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return {**times, "timezone": self.zone, "granularity": self.granularity, **names, **grouped}

    def key(self, point: dict[str, Any]) -> tuple[object, ...]:
        start = datetime.fromisoformat(point["bucketStart"])
        assert start.utcoffset() == start.astimezone(ZoneInfo(self.zone)).utcoffset()
        return start.astimezone(UTC), *(point[FIELDS[name]] for name in self.group_by)

    def recount(self, events: Sequence[StoredEvent]) -> dict[tuple[object, ...], list[StoredEvent]]:
        found: dict[tuple[object, ...], list[StoredEvent]] = defaultdict(list)
        for event in events:
            start = bucket_start(event.occurred_at, self.zone, self.granularity)
            wanted = all((value_of(event, name) or "") in values for name, values in self.filters.items())
            if wanted and self.start <= start < self.end:
                found[start, *(value_of(event, name) for name in self.group_by)].append(event)
        return found


def value_of(event: StoredEvent, name: str) -> str | None:
    if name == "project":
        return (event.project or "")[:200] or None
    value: str | None = getattr(event, {"errorCode": "error_code", "status": "status"}.get(name, f"{name}_id"))
    return value


def bucket_start(instant: datetime, zone: str, granularity: str) -> datetime:
    """The first quarter of an hour since which clocks of the zone have shown the same hour, day or month."""
    starts = bucket_starts(zone, granularity)
    return starts[bisect_right(starts, instant) - 1]


@cache
def bucket_starts(zone: str, granularity: str) -> list[datetime]:
    quarters = [FIRST + number * QUARTER for number in range(-96 * 32, 96 * 40)]
    labels = [label(quarter.astimezone(ZoneInfo(zone)), granularity) for quarter in quarters]
    return [quarter for quarter, before, now in zip(quarters[1:], labels, labels[1:], strict=False) if before != now]


def label(local: datetime, granularity: str) -> Label:
    if granularity == "hour":
        return local.date(), local.hour, local.utcoffset()
    return (local.date(),) if granularity == "day" else (local.year, local.month)


async def _close_days(database: WriteDatabase, place: Database) -> None:
    for _ in range(60):
        with psycopg.connect(place.superuser_dsn) as owner:
            row = owner.execute("SELECT min(daily_through) FROM analytics.rollup_progress").fetchone()
        if row is not None and row[0] >= CLOSED_THROUGH:
            return
        await close_day(database)
    raise AssertionError("days do not close")


def whole(**more: Any) -> dict[str, Any]:
    return {"start": FIRST.isoformat(), "end": (FIRST + LENGTH).isoformat(), **more}


async def test_failures_are_attributed_in_the_order_of_their_impact(filled: Filled) -> None:
    expected: dict[tuple[object, ...], int] = defaultdict(int)
    for event in filled.events:
        if event.status != "success":
            expected[event.client_id, event.error_code] += 1
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        body = (await filled.api.get(f"/orgs/{filled.org_id}/reliability/errors", **whole(limit=3), **cursor)).json()
        found += body["errors"]
        if body["nextCursor"] is None:
            break
        cursor = {"cursor": body["nextCursor"]}

    counts = [group["failedCount"] for group in found]
    assert {(group["clientId"], group["errorCode"]): group["failedCount"] for group in found} == expected
    assert len(found) == len(expected)
    assert counts == sorted(counts, reverse=True)
    assert body["totals"]["failedCount"] == sum(counts)
    assert sum(group["share"] for group in found) == pytest.approx(1)


@pytest.mark.parametrize("dimension", ["model", "client", "actor", "status", "errorCode", "project"])
async def test_the_values_of_a_dimension_are_those_of_the_events(filled: Filled, dimension: str) -> None:
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        path = f"/orgs/{filled.org_id}/dimensions/{dimension}"
        body = (await filled.api.get(path, **whole(limit=2), **cursor)).json()
        found += body["values"]
        if body["nextCursor"] is None:
            break
        cursor = {"cursor": body["nextCursor"]}

    values = [value_of(event, dimension) for event in filled.events]
    assert {value["value"]: value["invocations"] for value in found} == {each: values.count(each) for each in values}
    assert len(found) == len(set(values))


async def test_an_unknown_dimension_is_a_422_that_names_the_known_ones(filled: Filled) -> None:
    response = await filled.api.get(f"/orgs/{filled.org_id}/dimensions/region", **whole())

    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"field": "dimension", "detail": "supported are model, client, actor, status, errorCode, project"}
    ]


async def test_all_organisations_are_the_sum_of_each(filled: Filled) -> None:
    """For the platform's administrator alone."""
    asked = whole(granularity="day", timezone="Asia/Kolkata")
    own = (await filled.api.get(f"/orgs/{filled.org_id}/usage", **asked)).json()
    everybody = (await filled.api.get("/usage", **asked, groupBy="org")).json()
    one = (await filled.api.get("/usage", **asked, orgId=str(filled.org_id))).json()
    refused = await filled.api.get("/usage", headers=bearer("org:admin", orgs=[filled.org_id]), **asked)

    assert len({point["orgId"] for point in everybody["series"]}) == 2
    assert everybody["totals"]["invocations"] == sum(point["invocations"] for point in everybody["series"])
    assert [point for point in everybody["series"] if point.pop("orgId") == str(filled.org_id)] == own["series"]
    assert (one["series"], one["totals"]) == (own["series"], own["totals"])
    assert refused.status_code == 403


@pytest.mark.parametrize("group_by", [{}, {"groupBy": "model,client"}])
async def test_filled_up_every_bucket_has_every_group(filled: Filled, group_by: dict[str, str]) -> None:
    asked = whole(granularity="day", timezone="Europe/Berlin", status="timeout", **group_by)
    plain = (await filled.api.get(f"/orgs/{filled.org_id}/usage", **asked)).json()
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await filled.api.get(f"/orgs/{filled.org_id}/usage", **asked, fill="zero", limit=17, **cursor)).json()
        found += page["series"]
        assert page["totals"] == plain["totals"]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}

    groups = {(point.get("modelId"), point.get("clientId")) for point in plain["series"]}
    keys = [(point["bucketStart"], point.get("modelId"), point.get("clientId")) for point in found]
    assert [point for point in found if point["invocations"]] == plain["series"]
    assert len(keys) == len(set(keys)) == 33 * len(groups)
    assert sum(point["invocations"] for point in found) == plain["totals"]["invocations"]


async def test_the_period_before_has_as_many_days_and_its_own_totals(filled: Filled) -> None:
    """Across the change of clocks in Berlin a week before is not 168 hours before."""
    end, start, before = ("2026-04-05T00:00:00+02:00", "2026-03-29T00:00:00+01:00", "2026-03-22T00:00:00+01:00")
    path = f"/orgs/{filled.org_id}/reliability"
    zone: dict[str, Any] = {"granularity": "day", "timezone": "Europe/Berlin"}

    body = (await filled.api.get(path, start=start, end=end, compare="previous", **zone)).json()
    previous = (await filled.api.get(path, start=before, end=start, **zone)).json()

    assert body["previous"]["totals"] == previous["totals"]
    assert (body["previous"]["start"], body["previous"]["end"]) == ("2026-03-21T23:00:00Z", "2026-03-28T23:00:00Z")


@pytest.mark.parametrize("report", ["usage", "reliability"])
async def test_csv_has_the_points_of_json_and_links_the_next_page(filled: Filled, report: str) -> None:
    path, asked = f"/orgs/{filled.org_id}/{report}", whole(granularity="month", groupBy="actor", timezone="UTC")
    headers = bearer("admin")
    points = (await filled.api.get(path, **asked)).json()["series"]

    response = await filled.api.get(path, headers=headers | {"Accept": "text/csv"}, **asked | {"limit": 2})
    link = response.headers["link"]
    rest = await filled.api.client.get(
        f"/analytics/v1{path}{link[1 : link.index('>')]}", headers=headers | {"Accept": "text/csv"}
    )

    rows = [*csv.DictReader(io.StringIO(response.text)), *csv.DictReader(io.StringIO(rest.text))]
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert [row["bucketStart"] for row in rows][:2] == [point["bucketStart"] for point in points][:2]
    assert [row["actorId"] for row in rows][:2] == [point["actorId"] or "" for point in points][:2]
    assert [int(row["invocations"]) for row in rows][:2] == [point["invocations"] for point in points][:2]
    assert "modelId" not in rows[0]
