"""POST /events on a running service, down to the table."""

import gzip
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from tests.integration.http_ingest.conftest import WRITE, Ingest, events
from tests.support.callers import bearer
from tests.support.polling import eventually

NDJSON = {"Content-Type": "application/x-ndjson"}


def ids(sent: list[dict[str, Any]]) -> list[str]:
    return sorted(event["eventId"] for event in sent)


def test_one_event_is_accepted_and_stored(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """The simplest producer there is."""
    [event] = events(org_id, 1)
    answer = ingest.post(json=event, headers=writer)

    assert answer.status_code == 202
    assert answer.json() == {
        "receipts": [{"index": 0, "status": "accepted", "eventId": event["eventId"]}],
        "accepted": 1,
        "rejected": 0,
    }
    eventually(lambda: ingest.stored(org_id) == [event["eventId"]])


def test_a_bad_event_does_not_hurt_its_neighbours(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """Receipts come in the request's order, say what is wrong, and name the event."""
    good = events(org_id, 3)
    bad = events(org_id, 1, latencyMs=-1)[0]
    body: list[Any] = [good[0], bad, 7, good[1], {"eventId": "mine"}, good[2]]
    answer = ingest.post(json=body, headers=writer)

    assert answer.status_code == 202
    receipts = answer.json()["receipts"]
    assert [receipt["index"] for receipt in receipts] == list(range(6))
    assert [receipt["status"] for receipt in receipts] == [
        "accepted", "rejected", "rejected", "accepted", "rejected", "accepted",
    ]  # fmt: skip
    assert receipts[1] == {
        "index": 1,
        "status": "rejected",
        "eventId": bad["eventId"],
        "reason": "out_of_range",
        "field": "latencyMs",
        "detail": "Expected `int` >= 0",
    }
    assert receipts[2]["reason"] == "not_an_object"
    assert (receipts[4]["reason"], receipts[4]["eventId"]) == ("invalid_value", "mine")
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (3, 3)
    eventually(lambda: ingest.stored(org_id) == ids(good))


def test_lines_may_be_blank_and_end_in_any_way(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """Log shippers write NDJSON; a broken line is one rejected event, and blank ones count for nothing."""
    first, second = events(org_id, 2)
    lines = [b"", msgspec.json.encode(first), b"\r", b"  ", b"{broken", msgspec.json.encode(second) + b"\r", b""]
    answer = ingest.post(content=b"\n".join(lines), headers=writer | NDJSON)

    receipts = answer.json()["receipts"]
    assert [(receipt["index"], receipt["status"]) for receipt in receipts] == [
        (0, "accepted"), (1, "rejected"), (2, "accepted"),
    ]  # fmt: skip
    assert receipts[1]["reason"] == "not_json"
    eventually(lambda: ingest.stored(org_id) == ids([first, second]))


@pytest.mark.parametrize("lines", [True, False])
def test_a_compressed_body_is_read(ingest: Ingest, org_id: UUID, writer: dict[str, str], lines: bool) -> None:
    """A thousand events are 300 kB of JSON and 40 kB of gzip."""
    sent = events(org_id, 1_000)
    plain = b"\n".join(map(msgspec.json.encode, sent)) if lines else msgspec.json.encode(sent)
    headers = writer | {"Content-Encoding": "gzip"} | (NDJSON if lines else {"Content-Type": "application/json"})
    answer = ingest.post(content=gzip.compress(plain), headers=headers)

    assert (answer.status_code, answer.json()["accepted"]) == (202, 1_000)
    eventually(lambda: ingest.stored(org_id) == ids(sent))


async def test_an_event_goes_to_the_stream_byte_by_byte_as_it_was_sent(
    ingest: Ingest, org_id: UUID, writer: dict[str, str]
) -> None:
    """Decoding and encoding again could change a number or lose an unknown field; what was judged is what is stored."""
    [event] = events(org_id, 1, costEstimateCents=None)
    fields = msgspec.json.encode(event)[1:-1]
    odd = b'{ "costEstimateCents" : 0.1000 ,"later":[1.0, {"x":null}], ' + fields + b" }"
    answer = ingest.post(content=b"[\n  " + odd + b"  \n]", headers=writer)

    assert answer.json()["accepted"] == 1
    eventually(lambda: ingest.stored(org_id) == [event["eventId"]])
    assert odd in await ingest.stream.bodies(1)
    cost = ingest.stage.value("SELECT cost_microcents FROM analytics.usage_events WHERE org_id = %s", org_id)
    assert cost == 100_000


async def test_only_what_was_accepted_is_on_the_stream(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """A rejected event has its receipt; as a dead letter it would be reported twice."""
    good = events(org_id, 2)
    marker = str(uuid4())
    ingest.post(json=[good[0], good[1] | {"modelId": marker, "status": "no"}], headers=writer)
    foreign = events(uuid4(), 1, modelId=marker)
    ingest.post(json=foreign, headers=writer)

    bodies = await ingest.stream.bodies(1)
    assert sum(good[0]["eventId"].encode() in body for body in bodies) == 1
    assert not any(marker.encode() in body for body in bodies)


def test_sending_again_changes_nothing(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """After a lost answer a producer cannot know; repeating must be safe."""
    sent = events(org_id, 20)
    for _ in range(3):
        assert ingest.post(json=sent, headers=writer).json()["accepted"] == 20
    last = events(org_id, 1)
    ingest.post(json=last, headers=writer)

    eventually(lambda: ingest.stored(org_id) == ids(sent + last))


def test_events_of_a_foreign_organisation_are_rejected_one_by_one(
    ingest: Ingest, org_id: UUID, writer: dict[str, str]
) -> None:
    """The receipt is the same for an organisation that exists and for one that does not."""
    foreign = uuid4()
    body = [*events(org_id, 1), *events(foreign, 2), *events(org_id, 1)]
    answer = ingest.post(json=body, headers=writer)

    assert answer.status_code == 202
    receipts = answer.json()["receipts"]
    assert [receipt["status"] for receipt in receipts] == ["accepted", "rejected", "rejected", "accepted"]
    assert receipts[1] == {
        "index": 1,
        "status": "rejected",
        "eventId": body[1]["eventId"],
        "reason": "foreign_org",
        "field": "orgId",
        "detail": "no organisation that you may write events of",
    }
    eventually(lambda: len(ingest.stored(org_id)) == 2)
    assert ingest.stored(foreign) == []


def test_a_request_of_nothing_but_rejected_events_is_answered_with_receipts(
    ingest: Ingest, org_id: UUID, writer: dict[str, str]
) -> None:
    """The request was readable: its answer has one form, whatever became of the events."""
    answer = ingest.post(json=events(uuid4(), 2), headers=writer)

    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (202, 0, 2)


def test_each_organisation_of_a_request_has_one_audit_record(ingest: Ingest, org_id: UUID) -> None:
    """Not one for each event: a gateway sends thousands a second."""
    foreign = uuid4()
    subject = f"gateway-{uuid4()}"
    headers = bearer(WRITE, orgs=[org_id], subject=subject)
    ingest.post(json=[*events(org_id, 50), *events(foreign, 50), *events(org_id, 50)], headers=headers)
    ingest.post(json={"no": "organisation"}, headers=headers)
    ingest.post(content=b"{", headers=headers)
    ingest.post(json=events(org_id, 1), headers=bearer("analytics:usage:read", orgs=[org_id], subject=subject))

    assert sorted(ingest.audited(subject), key=str) == sorted(
        [
            (org_id, "allow", f"role {WRITE}"),
            (foreign, "deny", "foreign-org"),
            (None, "allow", f"role {WRITE}"),
            (None, "allow", f"role {WRITE}"),
            (None, "deny", "missing-role"),
        ],
        key=str,
    )


def test_the_administrator_may_write_everywhere(ingest: Ingest, org_id: UUID) -> None:
    """The platform's own gateway serves all organisations."""
    other = uuid4()
    answer = ingest.post(json=[*events(org_id, 1), *events(other, 1)], headers=bearer("admin"))

    assert answer.json()["accepted"] == 2
    eventually(lambda: len(ingest.stored(org_id)) == len(ingest.stored(other)) == 1)
