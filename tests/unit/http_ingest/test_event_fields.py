"""Every problem of an event, against the contract's own examples."""

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.events import EVENT_FIELDS, REQUIRED_FIELDS
from analytics_core.testing.builders import NOON, event_body, usage_event
from analytics_ingest.event_fields import field_errors

CONTRACTS = Path(__file__).parents[3] / "contracts" / "events"
CLOCK = json.loads((CONTRACTS / "clock.json").read_text())
NOW = datetime.fromisoformat(CLOCK["now"])
RETENTION = timedelta(days=CLOCK["rawRetentionDays"])
INVALID = {path.stem: json.loads(path.read_text()) for path in sorted((CONTRACTS / "invalid").glob("*.json"))}
VALID = {path.stem: json.loads(path.read_text()) for path in sorted((CONTRACTS / "examples").glob("*.json"))}


# The decoder of whole events cannot tell which of the texts is not UTF-8; field by field it can.
NAMED_HERE = {"raw_not_utf8": "modelId"}


def body_of(example: dict[str, Any]) -> bytes:
    """The bytes of a contract's invalid example, whichever way it is written down."""
    if "raw" in example:
        return str(example["raw"]).encode()
    if "rawBase64" in example:
        return base64.b64decode(example["rawBase64"])
    return json.dumps(example["event"]).encode().ljust(example.get("paddedToBytes", 0))


@pytest.mark.parametrize("name", INVALID)
def test_every_wrong_example_names_its_field(name: str) -> None:
    """An example has one mistake: it is found, and nothing else is."""
    expected = INVALID[name]["field"] or NAMED_HERE.get(name, "event")

    assert [error.field for error in field_errors(body_of(INVALID[name]), NOW, RETENTION)] == [expected]


@pytest.mark.parametrize("name", VALID)
def test_right_examples_have_no_errors(name: str) -> None:
    """Nothing that would be accepted is complained about."""
    events = VALID[name] if isinstance(VALID[name], list) else [VALID[name]]

    for event in events:
        assert field_errors(json.dumps(event).encode(), NOW, RETENTION) == []


WRONG: dict[str, Any] = {
    "eventId": "x", "orgId": None, "modelId": "", "occurredAt": "yesterday", "status": "ok", "latencyMs": -1,
    "inputTokens": 1.5, "outputTokens": "1", "costEstimateCents": -1, "cachedInputTokens": -1, "reasoningTokens": [],
    "actorId": "", "clientId": 7, "errorCode": "x" * 101, "metadata": [],
}  # fmt: skip


@given(st.sets(st.sampled_from(sorted(WRONG))), st.sets(st.sampled_from(sorted(REQUIRED_FIELDS)), max_size=3))
def test_all_mistakes_are_found_together(wrong: set[str], missing: set[str]) -> None:
    """Whatever else is wrong with the event."""
    event = usage_event(status="error") | {name: WRONG[name] for name in wrong}
    sent = {name: value for name, value in event.items() if name not in missing}

    found = [error.field for error in field_errors(json.dumps(sent).encode(), NOON, RETENTION)]

    assert set(found) == wrong | missing
    assert len(found) == len(set(found))
    assert found == sorted(found, key=EVENT_FIELDS.index)


def test_every_field_of_the_contract_can_be_wrong_here() -> None:
    """A field that is added to the contract has to be added to the test."""
    assert WRONG.keys() == set(EVENT_FIELDS)


def test_an_object_that_is_no_event_at_all_has_one_error() -> None:
    """Nine missing fields would not help who sent something else."""
    assert len(field_errors(b'{"hello":"world"}', NOON, RETENTION)) == 1
    assert len(field_errors(event_body()[:-1], NOON, RETENTION)) == 1


@pytest.mark.parametrize(
    "path", sorted((CONTRACTS / "dialects" / "invalid").glob("*.json")), ids=lambda path: path.stem
)
def test_a_wrong_event_of_a_dialect_is_described_in_its_own_words(path: Path) -> None:
    """Whoever writes a producer knows the names that it sends, not those of the contract."""
    example = json.loads(path.read_text())
    found = [error.field for error in field_errors(json.dumps(example["sent"]).encode(), NOW, RETENTION)]

    if len(example.get("missing", ())) == 9:
        assert found == ["eventId"]
    else:
        assert sorted(found) == sorted(example.get("missing") or [example["field"]])
