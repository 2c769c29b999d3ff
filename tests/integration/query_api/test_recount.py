"""Any question of the API against a recount from the events: zones, grains, groups, filters and pages at random."""

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
