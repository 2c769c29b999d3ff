"""The golden files of the dialects: what producers send, and the event of the contract that it stands for."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from analytics_core.dialects import translate
from analytics_core.events import UsageEvent, decode_event
from analytics_ingest.cloud_batches import cloud_events_in
from analytics_ingest.decode import Rejection, decode

EVENTS = Path(__file__).parents[2] / "contracts/events"
VALIDATOR = Draft202012Validator(json.loads((EVENTS / "usage_event.v1.schema.json").read_text()))
CLOCK = json.loads((EVENTS / "clock.json").read_text())
NOW = datetime.fromisoformat(CLOCK["now"])
RETENTION = timedelta(days=CLOCK["rawRetentionDays"])


class Golden(msgspec.Struct, rename="camel"):
    """`sent` stays bytes: a number that went through a float would no longer be what the producer sent."""

    dialect: str
    sent: msgspec.Raw
    events: list[msgspec.Raw] = []
    unknown_fields: bool = False
    reason: str | None = None
    field: str | None = None
    missing: list[str] = []


def golden(folder: str) -> dict[str, Golden]:
    paths = sorted((EVENTS / folder).glob("*.json"))
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=Golden) for path in paths}


ACCEPTED = golden("dialects")
REFUSED = golden("dialects/invalid")


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_sent_in_a_dialect_is_the_event_of_the_contract(name: str) -> None:
    """Every field and the hash of the body: the same call reported in two dialects is a duplicate, not a conflict."""
    case = ACCEPTED[name]
    sent = bytes(case.sent)
    found = [decode(body, NOW, RETENTION) for body in cloud_events_in(sent) or [sent]]

    assert found == [
        msgspec.structs.replace(decode_event(bytes(event), NOW, RETENTION), has_unknown_fields=case.unknown_fields)
        for event in case.events
    ]


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_canonical_form_satisfies_the_schema(name: str) -> None:
    """A golden file shows the contract, not what the decoder happens to tolerate."""
    for event in ACCEPTED[name].events:
        VALIDATOR.validate(json.loads(bytes(event)))


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_speaks_the_dialect_of_the_producer(name: str) -> None:
    """Its own field names, and all that the nearest dialect misses."""
    case = REFUSED[name]
    found = decode(bytes(case.sent), NOW, RETENTION)

    assert isinstance(found, Rejection)
    assert (found.reason, found.field) == (case.reason, case.field)
    if case.missing:
        assert f"nearest dialect: {case.dialect}" in found.detail
        assert all(field in found.detail for field in case.missing[1:])
        assert found.detail.count(",") == len(case.missing) - 1


@pytest.mark.parametrize("name", sorted(name for name in ACCEPTED if name != "cloud_events_batch"))
def test_the_dialect_is_the_one_that_the_file_names(name: str) -> None:
    """Nobody says which one it is; the fields do."""
    assert translate(bytes(ACCEPTED[name].sent)).dialect == ACCEPTED[name].dialect


@pytest.mark.parametrize("name", sorted(set(ACCEPTED) - {"cloud_events_batch"}))
def test_a_byte_order_mark_in_front_is_no_part_of_the_event(name: str) -> None:
    """Windows programs write one; what follows is as good as without."""
    sent = bytes(ACCEPTED[name].sent)

    assert decode(b"\xef\xbb\xbf" + sent, NOW, RETENTION) == decode(sent, NOW, RETENTION)
    assert isinstance(decode(b"\xef\xbb\xbf" * 20_000 + sent, NOW, RETENTION), Rejection)


def test_every_dialect_has_a_golden_file() -> None:
    """A new one arrives with its files."""
    plain = {"the contract", "snake_case", "UsageRecord"}
    shown = {case.dialect for case in ACCEPTED.values()}

    assert shown == {"snake_case", "UsageRecord", "CloudEvents batch"} | {f"CloudEvent of {name}" for name in plain}


def test_an_array_of_anything_else_is_no_batch() -> None:
    """One message is one event; only a CloudEvents batch says otherwise."""
    batch = bytes(ACCEPTED["cloud_events_batch"].sent)

    assert len(cloud_events_in(batch) or []) == 3
    for body in (b"[]", b"[1,2]", b'[{"eventId":1}]', batch[:-1], b"[" + b"0," * 600_000 + b"0]", b"[" * 100_000):
        assert cloud_events_in(body) is None
    assert isinstance(decode(bytes(ACCEPTED["cloud_event_contract"].sent), NOW, RETENTION), UsageEvent)
