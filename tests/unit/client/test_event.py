"""The event that producers build, against the contract that the service checks."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_client import InvalidEvent, UsageEvent, encode_event
from analytics_core import events
from analytics_core.units import microcents_from_cents

CONTRACTS = Path(__file__).parents[3] / "contracts" / "events"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RETENTION = timedelta(days=400)

_texts = st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)),  # type: ignore[arg-type]
    min_size=1,
    max_size=100,
)
_counts = st.integers(0, 1_000_000)


def _event(**fields: Any) -> UsageEvent:
    given_fields: dict[str, Any] = {
        "org_id": "6b1f0c1e-8f0a-4c53-9b9e-2d1f5a7c0001",
        "model_id": "gpt-4o",
        "occurred_at": NOW,
        "status": "success",
        "latency_ms": 1,
        "input_tokens": 2,
        "output_tokens": 3,
        "cost_estimate_cents": "0.125",
    } | fields
    return UsageEvent(**given_fields)


@given(
    status=st.sampled_from(["success", "error", "timeout", "throttled"]),
    model_id=_texts,
    actor_id=st.none() | _texts,
    metadata=st.none() | st.dictionaries(_texts, _texts, max_size=5),
    occurred_at=st.datetimes(datetime(2026, 1, 1), datetime(2026, 11, 1), timezones=st.timezones()),  # noqa: DTZ001
    tokens=st.tuples(_counts, _counts),
    microcents=st.integers(0, 10**12),
    as_text=st.booleans(),
)
def test_whatever_can_be_built_is_accepted_and_means_the_same(
    status: Any,
    model_id: str,
    actor_id: str | None,
    metadata: dict[str, str] | None,
    occurred_at: datetime,
    tokens: tuple[int, int],
    microcents: int,
    as_text: bool,
) -> None:
    """The library's own check and the service's decoder must not disagree, or good events become dead letters."""
    cents = Decimal(microcents).scaleb(-6)
    event = _event(
        status=status,
        model_id=model_id,
        actor_id=actor_id,
        metadata=metadata,
        occurred_at=occurred_at,
        input_tokens=sum(tokens),
        cached_input_tokens=tokens[0],
        cost_estimate_cents=f"{cents:f}" if as_text else cents,
    )

    decoded = events.decode_event(encode_event(event), NOW + timedelta(days=1), RETENTION)

    assert decoded.cost_microcents == microcents
    # In UTC: a local time that a clock change skips equals no other time, not even itself in UTC.
    assert decoded.occurred_at == occurred_at.astimezone(UTC)
    # No metadata and empty metadata are one.
    assert (decoded.model_id, decoded.actor_id, decoded.metadata) == (model_id, actor_id, metadata or None)
    assert decoded.input_tokens == sum(tokens)
    assert decoded.event_id == event.event_id
    assert not decoded.has_unknown_fields


def _invalid_examples() -> dict[str, dict[str, Any]]:
    """The contract's wrong events whose fields this library can be given, apart from those that depend on the time."""
    found = {}
    for path in sorted((CONTRACTS / "invalid").glob("*.json")):
        example = json.loads(path.read_text(), parse_float=Decimal)
        depends_on_time = example["reason"] in {"too_old", "in_future", "too_large"}
        if "event" in example and example["field"] != "occurredAt" and not depends_on_time:
            found[path.stem] = example["event"]
    return found


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


# Python's own leniency, harmless because what is sent is in the contract's spelling.
NORMALISED = {
    "event_id_without_hyphens", "org_id_in_braces", "missing_event_id", "missing_occurred_at", "cost_exponent_string",
    "cost_underscore_string", "null_in_required_field",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(_invalid_examples().keys() - NORMALISED))
def test_what_the_contract_refuses_cannot_be_built(name: str) -> None:
    """A producer learns of its mistake at the place that makes it, not from a dead letter a day later."""
    fields = {_snake(key): value for key, value in _invalid_examples()[name].items()}
    if isinstance(fields.get("occurred_at"), str):
        fields["occurred_at"] = datetime.fromisoformat(fields["occurred_at"])

    with pytest.raises((InvalidEvent, TypeError)):
        UsageEvent(**fields)


@pytest.mark.parametrize("cents", [0.125, 1.0, float("nan"), True, None, "1e400", "NaN", "-1", "", "0.0000001", b"1"])
def test_money_that_is_not_exact_is_refused(cents: Any) -> None:
    """0.1 + 0.2 is not 0.3: a float has lost what this service promises to keep."""
    with pytest.raises(InvalidEvent, match="cost_estimate_cents"):
        _event(cost_estimate_cents=cents)


@pytest.mark.parametrize(
    ("cents", "spelled"),
    [("0.125", "0.125000"), (Decimal("1E-6"), "0.000001"), (7, "7.000000"), ("1e2", "100.000000"), ("-0", "0.000000")],
)
def test_money_is_spelled_as_the_contract_wants_it(cents: Any, spelled: str) -> None:
    """The contract knows no exponents and no signs."""
    body = json.loads(encode_event(_event(cost_estimate_cents=cents)))

    assert body["costEstimateCents"] == spelled
    assert microcents_from_cents(Decimal(spelled)) == Decimal(cents) * 1_000_000


def test_each_event_has_an_id_of_its_own_that_retries_keep() -> None:
    """The id is made with the event, not with the sending."""
    first, second = _event(), _event()

    assert isinstance(first.event_id, UUID)
    assert first.event_id != second.event_id
    assert encode_event(first) == encode_event(first)


def test_absent_fields_are_left_out() -> None:
    """Half of an event's bytes would be nulls."""
    assert b"null" not in encode_event(_event())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"occurred_at": datetime(2026, 1, 1)}, "occurred_at"),  # noqa: DTZ001
        ({"occurred_at": "2026-01-01T00:00:00Z"}, "occurred_at"),
        ({"model_id": "\ud800"}, "model_id"),
        ({"metadata": {"key": 1}}, "metadata"),
        ({"metadata": {"key": "v" * 8_192}}, "metadata"),
        ({"metadata": {f"key{number}": "" for number in range(51)}}, "metadata"),
        ({"org_id": 7}, "org_id"),
    ],
)
def test_the_refusal_names_the_field(fields: dict[str, Any], named: str) -> None:
    """The message is all that a log line has."""
    with pytest.raises(InvalidEvent, match=f"^{named}"):
        _event(**fields)


def test_an_event_of_more_than_64_kib_is_refused() -> None:
    """The service would make a dead letter of it."""
    assert encode_event(b"x" * 65_536) == b"x" * 65_536
    with pytest.raises(InvalidEvent, match="65537 bytes"):
        encode_event(b"x" * 65_537)
