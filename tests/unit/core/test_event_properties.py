"""The decoder against anything that can be sent. The contract's own examples are tested in tests/contract."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.events import (
    COST_CENTS_MAX,
    EVENT_BYTES_MAX,
    FUTURE_MAX,
    INT_MAX,
    EventRejected,
    Reason,
    UsageEvent,
    decode_event,
)
from analytics_core.testing.builders import NOON, event_body, usage_event

RETENTION = timedelta(days=400)
NOW = NOON + timedelta(minutes=1)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
counts = st.integers(0, INT_MAX)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def valid_events(draw: st.DrawFn) -> dict[str, object]:
    """Events as careful producers send them."""
    input_tokens, output_tokens = draw(counts), draw(counts)
    status = draw(st.sampled_from(["success", "error", "timeout", "throttled"]))
    age = draw(st.timedeltas(-FUTURE_MAX, RETENTION))
    return usage_event(
        modelId=draw(texts),
        occurredAt=(NOW - age).isoformat(),
        status=status,
        latencyMs=draw(counts),
        inputTokens=input_tokens,
        outputTokens=output_tokens,
        cachedInputTokens=draw(st.none() | st.integers(0, input_tokens)),
        reasoningTokens=draw(st.none() | st.integers(0, output_tokens)),
        costEstimateCents=str(draw(st.decimals(0, COST_CENTS_MAX, places=draw(st.integers(0, 6))))),
        actorId=draw(st.none() | texts),
        clientId=draw(st.none() | texts),
        errorCode=draw(st.none() | texts) if status != "success" else None,
        metadata=draw(st.none() | st.dictionaries(texts, texts, max_size=5)),
    )


def decode(event: object) -> UsageEvent:
    return decode_event(msgspec.json.encode(event), NOW, RETENTION)


def event_or_rejection(body: bytes) -> UsageEvent | Reason:
    """No other exception may leave the decoder."""
    try:
        return decode_event(body, NOW, RETENTION)
    except EventRejected as rejected:
        return rejected.reason


@given(event=valid_events())
def test_a_valid_event_is_stored_as_it_was_meant(event: dict[str, object]) -> None:
    """Exact money, time in UTC, absent token parts as zero."""
    stored = decode(event)

    assert stored.occurred_at == datetime.fromisoformat(str(event["occurredAt"]))
    assert stored.occurred_at.tzinfo is UTC
    assert Decimal(stored.cost_microcents) == Decimal(str(event["costEstimateCents"])) * 1_000_000
    assert stored.cached_input_tokens == event.get("cachedInputTokens", 0)
    assert (stored.model_id, stored.input_tokens, stored.status) == (
        event["modelId"],
        event["inputTokens"],
        event["status"],
    )
    assert not stored.has_unknown_fields


@given(event=valid_events(), zone=st.timedeltas(timedelta(hours=-12), timedelta(hours=14)), data=st.data())
def test_spelling_makes_no_other_event(event: dict[str, object], zone: timedelta, data: st.DataObject) -> None:
    """Order of fields, offset of the time, number or string: a retry by another client is still a duplicate."""
    minutes = zone // timedelta(minutes=1)
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    local = datetime.fromisoformat(str(event["occurredAt"])) + timedelta(minutes=minutes)
    respelled = {
        **event,
        "occurredAt": f"{local.replace(tzinfo=None).isoformat()}{sign}{hours:02}:{rest:02}",
        "costEstimateCents": f"{event['costEstimateCents']}{'' if '.' in str(event['costEstimateCents']) else '.0'}",
    }
    shuffled = {name: respelled[name] for name in data.draw(st.permutations(sorted(respelled)))}

    assert decode(shuffled) == decode(event)


@given(event=valid_events(), unknown=st.dictionaries(texts, json_values, min_size=1, max_size=3))
def test_unknown_fields_change_nothing_but_the_flag(event: dict[str, object], unknown: dict[str, object]) -> None:
    """A newer producer is understood, and counted."""
    extended = {f"x-{name}": value for name, value in unknown.items()} | event

    assert msgspec.structs.replace(decode(extended), has_unknown_fields=False) == decode(event)
    assert decode(extended).has_unknown_fields


@given(body=st.binary(max_size=300) | json_values.map(msgspec.json.encode))
def test_whatever_comes_is_an_event_or_a_rejection(body: bytes) -> None:
    """No other exception leaves the decoder: one message must not stop a partition."""
    with pytest.raises(EventRejected) as rejected:
        decode_event(body, NOW, RETENTION)

    assert rejected.value.reason in Reason
    assert rejected.value.detail


@given(event=valid_events(), data=st.data())
def test_one_wrong_field_is_an_event_or_a_rejection(event: dict[str, object], data: st.DataObject) -> None:
    """Any JSON value in any field, or a body cut anywhere."""
    field = data.draw(st.sampled_from(sorted(event)))
    body = msgspec.json.encode(event | {field: data.draw(json_values)})
    cut = data.draw(st.integers(0, len(body)))
    for attempt in (body, body[:cut]):
        found = event_or_rejection(attempt)

        assert isinstance(found, Reason) or 0 <= found.cached_input_tokens <= found.input_tokens <= INT_MAX


@pytest.mark.parametrize("depth", [500, 5_000, 30_000])
def test_deep_nesting_is_a_rejection(depth: int) -> None:
    """Not a stack overflow of the whole process."""
    body = event_body().rstrip(b"}") + b',"x":' + b"[" * depth + b"]" * depth + b"}"
    found = event_or_rejection(body)

    assert len(body) <= EVENT_BYTES_MAX
    assert found is Reason.NOT_JSON or (isinstance(found, UsageEvent) and found.has_unknown_fields)


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (-FUTURE_MAX, None),
        (-FUTURE_MAX - timedelta(microseconds=1), Reason.IN_FUTURE),
        (RETENTION, None),
        (RETENTION + timedelta(microseconds=1), Reason.TOO_OLD),
    ],
)
def test_the_accepted_time_has_sharp_ends(age: timedelta, reason: Reason | None) -> None:
    """Both ends are inside."""
    found = event_or_rejection(event_body(occurredAt=(NOW - age).isoformat()))

    assert found is reason or (reason is None and isinstance(found, UsageEvent))
