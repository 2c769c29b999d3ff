"""Dialects against any event: what is meant does not depend on how it is spelled. Golden files: tests/contract."""

import json
import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.dialects import decode_dialect
from analytics_core.events import EventRejected, UsageEvent, decode_event
from analytics_core.testing.builders import NOON, usage_event
from tests.support.wild_bodies import cloud_event, snake_case, usage_record
from tests.unit.core.test_event_properties import NOW, RETENTION, valid_events

MICROCENTS_PER_DOLLAR = 100_000_000
DOLLARS_MAX = 10_000


def decode(body: bytes) -> UsageEvent:
    """As ingest does: the contract first."""
    try:
        return decode_event(body, NOW, RETENTION)
    except EventRejected as refusal:
        return decode_dialect(body, refusal, NOW, RETENTION)


def cost_of(cost_usd: str) -> int:
    """Micro-cents of a UsageRecord with this JSON text as its cost."""
    record = json.dumps(usage_record(usage_event(occurredAt=NOON.isoformat())) | {"cost_usd": "COST"})
    return decode(record.replace('"COST"', cost_usd).encode()).cost_microcents


@given(event=valid_events())
def test_an_event_is_the_same_in_every_spelling(event: dict[str, Any]) -> None:
    """Every field, and so the same identity and body: a retry through another program is a duplicate."""
    expected = decode(msgspec.json.encode(event))

    for spelled in (snake_case(event), cloud_event(event), cloud_event(snake_case(event))):
        assert decode(msgspec.json.encode(spelled)) == expected


@given(microcents=st.integers(0, DOLLARS_MAX * MICROCENTS_PER_DOLLAR), as_text=st.booleans())
def test_dollars_are_exact_to_the_micro_cent(microcents: int, as_text: bool) -> None:
    """Whatever the notation."""
    dollars = Decimal(microcents) / MICROCENTS_PER_DOLLAR
    for text in (str(dollars), f"{dollars:.8f}", f"{dollars:e}"):
        assert cost_of(f'"{text}"' if as_text else text) == microcents


@given(microcents=st.integers(1, DOLLARS_MAX * MICROCENTS_PER_DOLLAR), steps=st.integers(-2, 2))
def test_the_noise_of_floating_point_is_no_part_of_an_amount(microcents: int, steps: int) -> None:
    """A router adds and multiplies doubles; the last bits of what it sends are not money."""
    dollars = microcents / MICROCENTS_PER_DOLLAR
    for _ in range(abs(steps)):
        dollars = math.nextafter(dollars, math.inf if steps > 0 else 0)

    assert cost_of(repr(min(dollars, float(DOLLARS_MAX)))) == microcents


@given(
    tokens=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    rates=st.sampled_from([(0.005, 0.015), (0.0005, 0.0015)]),
)
def test_a_routers_own_arithmetic_comes_out_exact(tokens: tuple[int, int], rates: tuple[float, float]) -> None:
    """Tokens by a price for a thousand of them, as routers do it."""
    sent = tokens[0] / 1000 * rates[0] + tokens[1] / 1000 * rates[1]
    exact = sum(Decimal(count) / 1000 * Decimal(str(rate)) for count, rate in zip(tokens, rates, strict=True))

    assert cost_of(repr(sent)) == exact * MICROCENTS_PER_DOLLAR


def test_what_is_not_known_is_said_once_and_counted() -> None:
    """An unknown field is ignored in every dialect but the router's, where it becomes a label."""
    event = usage_event(occurredAt=(NOW - timedelta(hours=1)).isoformat())
    for spelled in (event | {"x": 1}, snake_case(event) | {"x": 1}, cloud_event(event | {"x": 1})):
        assert decode(msgspec.json.encode(spelled)).has_unknown_fields
    labelled = decode(msgspec.json.encode(usage_record(event) | {"x": [1, 2]}))

    assert not labelled.has_unknown_fields
    assert labelled.metadata == {"trace_id": "t", "x": "[1,2]"}
