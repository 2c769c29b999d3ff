"""The event's JSON Schema, its examples and the decoder agree: one contract, described three times."""

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from analytics_core.events import EVENT_BYTES_MAX, EventRejected, UsageEvent, decode_event

EVENTS = Path(__file__).parents[2] / "contracts/events"
SCHEMA: dict[str, Any] = json.loads((EVENTS / "usage_event.v1.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
CLOCK = json.loads((EVENTS / "clock.json").read_text())
NOW = datetime.fromisoformat(CLOCK["now"])
RETENTION = timedelta(days=CLOCK["rawRetentionDays"])

REASONS = {
    "too_large", "not_utf8", "not_json", "not_an_object", "missing_field", "invalid_type", "invalid_value",
    "invalid_time", "too_old", "in_future", "out_of_range", "parts_exceed_whole",
}  # fmt: skip


@dataclass(frozen=True)
class Accepted:
    name: str
    event: dict[str, Any]


@dataclass(frozen=True)
class Refused:
    name: str
    body: bytes
    case: dict[str, Any]


def accepted_examples() -> list[Accepted]:
    """Every event of `examples/`; a file may hold an array of them."""
    found = []
    for path in sorted((EVENTS / "examples").glob("*.json")):
        content = json.loads(path.read_text())
        events = content if isinstance(content, list) else [content]
        found += [Accepted(f"{path.stem}-{n}", event) for n, event in enumerate(events)]
    return found


def refused_examples() -> list[Refused]:
    found = []
    for path in sorted((EVENTS / "invalid").glob("*.json")):
        case = json.loads(path.read_text())
        found.append(Refused(path.stem, body_of(case), case))
    return found


def body_of(case: dict[str, Any]) -> bytes:
    if "rawBase64" in case:
        return base64.b64decode(case["rawBase64"])
    if "raw" in case:
        return str(case["raw"]).encode()
    return json.dumps(case["event"]).encode().ljust(case.get("paddedToBytes", 0))


ACCEPTED = accepted_examples()
REFUSED = refused_examples()


def decode(body: bytes) -> UsageEvent:
    return decode_event(body, NOW, RETENTION)


def pair(name: str) -> tuple[UsageEvent, UsageEvent]:
    first, second = json.loads((EVENTS / f"examples/{name}.json").read_text())
    return decode(json.dumps(first).encode()), decode(json.dumps(second).encode())


def test_the_schema_is_a_valid_schema() -> None:
    """Validators of other languages refuse to work with a broken one."""
    Draft202012Validator.check_schema(SCHEMA)


def test_every_field_has_a_description() -> None:
    """Units and limits are what a producer reads the schema for."""
    assert all(field.get("description") for field in SCHEMA["properties"].values())


@pytest.mark.parametrize("example", ACCEPTED, ids=lambda example: example.name)
def test_accepted_examples_satisfy_the_schema_and_the_decoder(example: Accepted) -> None:
    """Producers copy examples; a copied example must arrive."""
    VALIDATOR.validate(example.event)

    event = decode(json.dumps(example.event).encode())

    assert str(event.event_id) == example.event["eventId"].lower()
    assert event.input_tokens == example.event["inputTokens"]


@pytest.mark.parametrize("example", REFUSED, ids=lambda example: example.name)
def test_refused_examples_name_reason_and_field(example: Refused) -> None:
    """A dead letter says what to fix, in the producer's own field names."""
    with pytest.raises(EventRejected) as rejected:
        decode(example.body)

    assert (rejected.value.reason, rejected.value.field) == (example.case["reason"], example.case["field"])
    assert rejected.value.detail


@pytest.mark.parametrize(
    "example", [example for example in REFUSED if "schemaRejects" in example.case], ids=lambda e: e.name
)
def test_the_schema_alone_refuses_what_it_can_say(example: Refused) -> None:
    """What a producer's own validator cannot find is marked, so the gap is known and does not grow."""
    assert VALIDATOR.is_valid(example.case["event"]) is not example.case["schemaRejects"]


def test_every_reason_has_an_example() -> None:
    """A reason that nothing triggers is either dead or undocumented."""
    assert {example.case["reason"] for example in REFUSED} == REASONS


def test_every_required_field_has_an_example_without_it() -> None:
    """Required means that the decoder refuses the event without it."""
    missing = {e.case["field"] for e in REFUSED if e.case["reason"] == "missing_field"}

    assert missing == set(SCHEMA["required"])


def test_every_field_has_an_accepted_and_a_refused_example() -> None:
    """A new field arrives with its examples."""
    shown = {field for example in ACCEPTED for field in example.event}
    refused = {example.case["field"] for example in REFUSED}

    assert set(SCHEMA["properties"]) - shown == set()
    assert set(SCHEMA["properties"]) - refused == set()


@pytest.mark.parametrize("name", ["duplicate_pair", "duplicate_pair_written_differently"])
def test_the_same_content_is_a_duplicate_however_it_is_spelled(name: str) -> None:
    """A retry through another JSON library must not look like a conflict."""
    first, second = pair(name)

    assert (first.org_id, first.event_id) == (second.org_id, second.event_id)
    assert first == second


@pytest.mark.parametrize("name", ["conflict_pair", "conflict_pair_other_time"])
def test_other_content_under_the_same_identity_is_a_conflict(name: str) -> None:
    """A conflict is a producer's bug: it must not hide among the duplicates."""
    first, second = pair(name)

    assert (first.org_id, first.event_id) == (second.org_id, second.event_id)
    assert first != second


def test_unknown_fields_are_flagged() -> None:
    """They are ignored, but counted: a misspelled optional field would otherwise vanish unnoticed."""
    body = (EVENTS / "examples/unknown_field.json").read_bytes()

    assert decode(body).has_unknown_fields
    assert not decode((EVENTS / "examples/full.json").read_bytes()).has_unknown_fields


@pytest.mark.parametrize("field", ["orgId", "metadata", "latencyMs", "costEstimateCents"])
def test_of_a_repeated_field_the_last_value_counts(field: str) -> None:
    """RFC 8259 leaves it open; here it is the same whichever way a message is read."""
    body = (EVENTS / "examples/full.json").read_bytes().strip()
    for value in (b'"x"', b"7", b"[]", b'"\xff"'):
        assert decode(b'{"%s":%s,' % (field.encode(), value) + body[1:]) == decode(body)
    with pytest.raises(EventRejected) as rejected:
        decode(body[:-1] + b',"%s":[]}' % field.encode())
    assert rejected.value.field == field


@pytest.mark.parametrize(
    ("name", "cost_microcents"),
    [("cost_string", 12_500_000), ("cost_sub_cent", 1), ("cost_zero", 0), ("cost_largest", 10**12)],
)
def test_costs_arrive_to_the_micro_cent(name: str, cost_microcents: int) -> None:
    """Number or string, the amount is exact."""
    assert decode((EVENTS / f"examples/{name}.json").read_bytes()).cost_microcents == cost_microcents


def test_an_event_of_exactly_the_largest_size_is_accepted() -> None:
    """The limit of the contract is the limit of the code, to the byte."""
    body = json.dumps(ACCEPTED[0].event).encode().ljust(65_536)

    assert decode(body)
    assert EVENT_BYTES_MAX == 65_536
