"""Reliability: outcomes and percentiles, held against the calls that they were made of."""

import random
from collections.abc import Sequence
from datetime import timedelta
from math import ceil
from typing import Any
from uuid import UUID

import pytest

from analytics_core.histogram import RELATIVE_ERROR_MAX
from tests.integration.query_api.conftest import Api
from tests.integration.query_api.numbers import NOW, Call, Numbers

DAY_START = NOW.replace(hour=0)
RANGE: dict[str, Any] = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}
STATUSES = ("success",) * 7 + ("error", "timeout", "throttled")


def random_calls(seed: int, count: int, days: int) -> list[Call]:
    """Latencies over five orders of magnitude, in two models."""
    chosen = random.Random(seed)
    return [
        Call(
            at=DAY_START + timedelta(seconds=chosen.randrange(days * 86_400)),
            model_id=chosen.choice(("a", "b")),
            status=chosen.choice(STATUSES),
            latency_ms=int(chosen.lognormvariate(6, 1.5)),
        )
        for _ in range(count)
    ]


def assert_percentiles(answered: dict[str, Any], calls: Sequence[Call]) -> None:
    """Each within the promised error of the nearest rank (and of the rounding to two decimals)."""
    latencies = sorted(call.latency_ms for call in calls)
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        exact = latencies[ceil(quantile * len(latencies)) - 1]

        assert answered[name] == pytest.approx(exact, rel=RELATIVE_ERROR_MAX, abs=0.005)


async def test_outcomes_are_counted_and_every_one_but_success_is_a_failure(
    api: Api, numbers: Numbers, org_id: UUID
) -> None:
    """The rate counts what the caller of a model sees as failed; the counts let others define it differently."""
    outcomes = ["success"] * 4 + ["error", "timeout", "throttled", "throttled"]
    numbers.fold(org_id, [Call(at=DAY_START, status=status) for status in outcomes])

    body = (await api.get(f"/orgs/{org_id}/reliability", **RANGE)).json()

    for part in (body["series"][0], body["totals"]):
        assert {name: part[name] for name in part if name.endswith("Count")} == {
            "successCount": 4,
            "errorCount": 1,
            "timeoutCount": 1,
            "throttledCount": 2,
        }
        assert (part["invocations"], part["errorRate"]) == (8, 0.5)


@pytest.mark.parametrize("group_by", ["model", None])
async def test_percentiles_of_points_and_range_are_those_of_their_calls(
    api: Api, numbers: Numbers, org_id: UUID, group_by: str | None
) -> None:
    """Percentiles do not add up: those of a range must come from merged histograms, not from the points'."""
    calls = random_calls(seed=7, count=2_000, days=1)
    numbers.fold(org_id, calls)

    parameters = RANGE | ({"groupBy": group_by} if group_by else {})
    body = (await api.get(f"/orgs/{org_id}/reliability", **parameters)).json()

    assert len(body["series"]) == (48 if group_by else 24)
    for point in body["series"]:
        assert_percentiles(
            point["latencyMs"],
            [
                call
                for call in calls
                if call.at.hour == int(point["bucketStart"][11:13])
                and call.model_id == point.get("modelId", call.model_id)
            ],
        )
    assert_percentiles(body["totals"]["latencyMs"], calls)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-03-10T00:00:00Z", "2026-03-14T00:00:00Z"),
        ("2026-03-10T05:00:00Z", "2026-03-13T19:00:00Z"),
        ("2026-03-10T05:30:00Z", "2026-03-12T00:00:01Z"),
        ("2026-03-10T23:00:00Z", "2026-03-11T01:00:00Z"),
        ("2026-03-11T07:00:00Z", "2026-03-11T09:00:00Z"),
    ],
)
async def test_the_range_counts_each_hour_once_wherever_it_begins_and_ends(
    api: Api, numbers: Numbers, org_id: UUID, start: str, end: str
) -> None:
    """The totals take whole days from the daily rollup and the rest from the hourly one."""
    calls = random_calls(seed=8, count=3_000, days=4)
    numbers.fold(org_id, calls)

    body = (await api.get(f"/orgs/{org_id}/reliability", start=start, end=end)).json()

    shown = {point["bucketStart"][:13] for point in body["series"]}
    inside = [call for call in calls if f"{call.at:%Y-%m-%dT%H}" in shown]
    assert body["totals"]["invocations"] == len(inside)
    assert_percentiles(body["totals"]["latencyMs"], inside)


async def test_a_page_has_its_own_points_and_the_totals_of_the_range(api: Api, numbers: Numbers, org_id: UUID) -> None:
    calls = random_calls(seed=9, count=500, days=2)
    numbers.fold(org_id, calls)
    whole_range: dict[str, Any] = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-12T00:00:00Z", "groupBy": "model"}
    whole = (await api.get(f"/orgs/{org_id}/reliability", **whole_range)).json()

    first = (await api.get(f"/orgs/{org_id}/reliability", limit=50, **whole_range)).json()
    second = (await api.get(f"/orgs/{org_id}/reliability", cursor=first["nextCursor"], **whole_range)).json()

    assert first["series"] + second["series"] == whole["series"]
    assert first["totals"] == second["totals"] == whole["totals"]


async def test_a_filter_holds_for_percentiles_too(api: Api, numbers: Numbers, org_id: UUID) -> None:
    calls = [Call(at=DAY_START, model_id="slow", latency_ms=9_000), Call(at=DAY_START, model_id="fast", latency_ms=10)]
    numbers.fold(org_id, calls)

    body = (await api.get(f"/orgs/{org_id}/reliability", modelId="fast", **RANGE)).json()

    assert (
        body["series"][0]["latencyMs"]
        == body["totals"]["latencyMs"]
        == dict.fromkeys(("p50", "p90", "p95", "p99"), 10.0)
    )


async def test_nothing_has_no_rate_and_no_percentiles(api: Api, org_id: UUID) -> None:
    """0 % errors of no calls would be an invention."""
    body = (await api.get(f"/orgs/{org_id}/reliability", **RANGE)).json()

    assert body["series"] == []
    assert body["totals"]["errorRate"] is None
    assert body["totals"]["latencyMs"] == dict.fromkeys(("p50", "p90", "p95", "p99"))


async def test_more_points_than_one_merge_takes_are_answered_alike(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """Points are merged 256 at a time; a slip at the border would shift every percentile behind it."""
    calls = [
        Call(at=DAY_START + timedelta(hours=hour), model_id=f"m{model}", latency_ms=hour * 30 + model)
        for hour in range(24)
        for model in range(25)
    ]
    numbers.fold(org_id, calls)

    body = (await api.get(f"/orgs/{org_id}/reliability", groupBy="model", **RANGE)).json()

    assert len(body["series"]) == 600
    for point in body["series"]:
        exact = int(point["bucketStart"][11:13]) * 30 + int(point["modelId"][1:])
        assert point["latencyMs"]["p50"] == pytest.approx(exact, rel=RELATIVE_ERROR_MAX, abs=0.005)
