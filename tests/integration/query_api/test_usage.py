"""Usage: the numbers of the rollups, to the last token and micro-cent."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from tests.integration.query_api.conftest import Api
from tests.integration.query_api.numbers import NOW, Call, Numbers
from tests.support.callers import bearer

DAY_START = NOW.replace(hour=0)
RANGE: dict[str, Any] = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}


def at_hour(hour: int, **fields: object) -> Call:
    return Call(at=DAY_START + timedelta(hours=hour, minutes=20), **fields)  # type: ignore[arg-type]


async def test_a_series_adds_up_the_models_of_each_hour(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """Without groupBy the caller sees one point a bucket."""
    numbers.fold(
        org_id,
        [
            at_hour(3, model_id="a", input_tokens=100, output_tokens=20, cost_microcents=1_500_000),
            at_hour(3, model_id="b", input_tokens=1, output_tokens=2, cost_microcents=1),
            at_hour(7, model_id="a", status="error"),
        ],
    )

    body = (await api.get(f"/orgs/{org_id}/usage", **RANGE)).json()

    assert [point["bucketStart"] for point in body["series"]] == ["2026-03-10T03:00:00Z", "2026-03-10T07:00:00Z"]
    assert body["series"][0] == {
        "bucketStart": "2026-03-10T03:00:00Z",
        "invocations": 2,
        "successCount": 2,
        "errorCount": 0,
        "timeoutCount": 0,
        "throttledCount": 0,
        "confidence": "finalized",
        "revision": 0,
        "inputTokens": 101,
        "outputTokens": 22,
        "cachedInputTokens": 4,
        "reasoningTokens": 2,
        "costEstimateCents": 1.500001,
        "revisedAt": None,
    }
    assert body["series"][1]["errorCount"] == 1


async def test_money_is_exact_in_the_text_of_the_answer(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """A cent that went through a double may come out as 0.30000000000000004 or 1e-06."""
    numbers.fold(org_id, [at_hour(1, cost_microcents=1), at_hour(2, cost_microcents=12_345_678_123_456)])

    text = (await api.get(f"/orgs/{org_id}/usage", **RANGE)).text

    assert '"costEstimateCents":0.000001' in text
    assert '"costEstimateCents":12345678.123456' in text
    assert '"costEstimateCents":12345678.123457' in text
    assert json.loads(text, parse_float=Decimal)["totals"]["costEstimateCents"] == Decimal("12345678.123457")


async def test_money_beyond_the_precision_of_a_double_is_exact(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """9,007,199,254.740993 cents is 2**53 + 1 micro-cents."""
    numbers.fold(org_id, [at_hour(1, cost_microcents=2**53 + 1)])

    text = (await api.get(f"/orgs/{org_id}/usage", **RANGE)).text

    assert '"costEstimateCents":9007199254.740993' in text


async def test_group_by_model_gives_each_model_its_points(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """In the order of bucket and model, which cursors rely on."""
    numbers.fold(org_id, [at_hour(3, model_id="b"), at_hour(3, model_id="a"), at_hour(2, model_id="b")])

    body = (await api.get(f"/orgs/{org_id}/usage", groupBy="model", **RANGE)).json()

    assert [(point["bucketStart"][11:13], point["modelId"]) for point in body["series"]] == [
        ("02", "b"),
        ("03", "a"),
        ("03", "b"),
    ]


async def test_a_filter_leaves_other_models_out_of_series_and_totals(api: Api, numbers: Numbers, org_id: UUID) -> None:
    numbers.fold(org_id, [at_hour(3, model_id=model) for model in ("a", "b", "c d/é", "c d/é")])

    body = (await api.get(f"/orgs/{org_id}/usage", modelId=["a", "c d/é"], groupBy="model", **RANGE)).json()

    assert [(point["modelId"], point["invocations"]) for point in body["series"]] == [("a", 1), ("c d/é", 2)]
    assert body["totals"]["invocations"] == 3


async def test_pages_together_are_the_series_and_each_has_the_totals(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """Totals of a page would look like totals of the range."""
    numbers.fold(org_id, [at_hour(hour, model_id=model) for hour in range(5) for model in ("a", "b", "c")])
    whole = (await api.get(f"/orgs/{org_id}/usage", groupBy="model", **RANGE)).json()

    series: list[dict[str, Any]] = []
    cursor, pages = None, 0
    while cursor is not None or pages == 0:
        parameters: dict[str, Any] = {"cursor": cursor} if cursor else {}
        page = (await api.get(f"/orgs/{org_id}/usage", groupBy="model", limit=4, **RANGE, **parameters)).json()
        series += page["series"]
        cursor, pages = page["nextCursor"], pages + 1
        assert page["totals"] == whole["totals"]

    assert series == whole["series"]
    assert pages == 4
    assert whole["totals"]["invocations"] == 15


async def test_a_page_that_is_just_full_is_the_last_one(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """A cursor that leads to an empty page makes callers show an empty page."""
    numbers.fold(org_id, [at_hour(hour) for hour in range(4)])

    body = (await api.get(f"/orgs/{org_id}/usage", limit=4, **RANGE)).json()

    assert (len(body["series"]), body["nextCursor"]) == (4, None)


async def test_rows_that_arrive_between_pages_shift_nothing(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """With offsets instead of keys, a point would come twice."""
    numbers.fold(org_id, [at_hour(hour) for hour in (2, 4, 6)])
    first = (await api.get(f"/orgs/{org_id}/usage", limit=2, **RANGE)).json()
    numbers.fold(org_id, [Call(at=DAY_START + timedelta(hours=1), model_id="late")])

    second = (await api.get(f"/orgs/{org_id}/usage", limit=2, cursor=first["nextCursor"], **RANGE)).json()

    assert [point["bucketStart"][11:13] for point in second["series"]] == ["06"]


async def test_days_come_from_the_daily_rollup(api: Api, numbers: Numbers, org_id: UUID) -> None:
    numbers.fold(org_id, [at_hour(1), at_hour(23), at_hour(30)])

    body = (
        await api.get(
            f"/orgs/{org_id}/usage",
            granularity="day",
            start="2026-03-10T00:00:00Z",
            end="2026-03-12T00:00:00Z",
        )
    ).json()

    assert [(point["bucketStart"], point["invocations"]) for point in body["series"]] == [
        ("2026-03-10T00:00:00Z", 2),
        ("2026-03-11T00:00:00Z", 1),
    ]
    assert body["totals"]["invocations"] == 3


async def test_the_end_is_exclusive_and_buckets_are_whole(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """A range that cuts buckets has those that start in it; half-hour offsets are no special case."""
    numbers.fold(org_id, [at_hour(hour) for hour in (1, 2, 3)])

    body = (
        await api.get(f"/orgs/{org_id}/usage", start="2026-03-10T06:31:00+05:30", end="2026-03-10T03:00:00.000000Z")
    ).json()

    assert [point["bucketStart"][11:13] for point in body["series"]] == ["02"]
    assert (body["start"], body["end"]) == ("2026-03-10T01:01:00Z", "2026-03-10T03:00:00Z")


async def test_a_bucket_is_final_once_the_watermark_is_15_minutes_past_it(
    api: Api, numbers: Numbers, org_id: UUID
) -> None:
    """`finalized` is a promise: everything accepted by then is in."""
    numbers.fold(org_id, [at_hour(hour) for hour in (10, 11)])
    try:
        numbers.set_watermark(DAY_START + timedelta(hours=11, minutes=15))
        body = (await api.get(f"/orgs/{org_id}/usage", **RANGE)).json()
        numbers.set_watermark(DAY_START + timedelta(hours=11, minutes=14, seconds=59))
        earlier = (await api.get(f"/orgs/{org_id}/usage", **RANGE)).json()
    finally:
        numbers.set_watermark(NOW)

    assert [point["confidence"] for point in body["series"]] == ["finalized", "estimated"]
    assert [point["confidence"] for point in earlier["series"]] == ["estimated", "estimated"]
    assert body["totals"]["confidence"] == "estimated"


async def test_revisions_of_the_models_of_a_bucket_add_up(api: Api, numbers: Numbers, org_id: UUID) -> None:
    """A caller that keeps numbers notices that a finalized bucket has changed, whichever model it was."""
    numbers.fold(org_id, [at_hour(1, model_id="a")], revision=2)
    numbers.fold(org_id, [at_hour(1, model_id="b")], revision=1)

    body = (await api.get(f"/orgs/{org_id}/usage", **RANGE)).json()

    assert body["series"][0]["revision"] == 3
    assert body["series"][0]["revisedAt"] == "2026-03-10T01:20:00Z"
    as_csv = await api.get(f"/orgs/{org_id}/usage", headers=bearer("admin") | {"Accept": "text/csv"}, **RANGE)
    assert as_csv.text.splitlines()[1].endswith(",2026-03-10T01:20:00Z")


async def test_an_organisation_without_events_has_zeros_and_unknown_freshness(api: Api) -> None:
    """Nothing is invented, and it is no error: tomorrow it may have some."""
    response = await api.get(f"/orgs/{uuid4()}/usage", **RANGE)

    body = response.json()
    assert response.status_code == 200
    assert (body["series"], body["totals"]["invocations"], body["totals"]["costEstimateCents"]) == ([], 0, 0)
    assert body["freshness"] == {
        "status": "unknown",
        "lagSeconds": None,
        "watermark": None,
        "lastEventAt": None,
        "lastRollupAt": None,
    }
    assert body["nextCursor"] is None
