"""Dead letters over HTTP and at the command line, from the bad message to the stored event."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from tests.integration.http_ingest.conftest import Ingest, events
from tests.integration.ingest.streaming import publish, wait_for
from tests.support.callers import bearer
from tests.support.polling import eventually

LETTERS = "/analytics/v1/dead-letters"
ADMIN = bearer("admin", subject="root")


@pytest.fixture
def dead(ingest: Ingest, org_id: UUID) -> list[dict[str, Any]]:
    """Three dead letters of an organisation of the test's own, oldest first: two lack a status, one nearly all."""
    sent = [event | {"status": None} for event in events(org_id, 2)] + [
        {"org_id": str(org_id), "event_id": str(uuid4()), "note": "é"}
    ]
    asyncio.run(publish(ingest.stage.rabbitmq, map(msgspec.json.encode, sent)))
    return list(reversed(wait_for(lambda: listed(ingest, orgId=org_id, needed=3), "three dead letters")))


def get(ingest: Ingest, path: str = LETTERS, **parameters: Any) -> httpx.Response:
    return httpx.get(ingest.url + path, params=parameters or None, headers=ADMIN, timeout=30, trust_env=False)


def listed(ingest: Ingest, *, needed: int = 0, **parameters: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = get(ingest, **parameters).json()["items"]
    return items if len(items) >= needed else []


def replay(ingest: Ingest, **body: Any) -> httpx.Response:
    return ingest.post(f"{LETTERS}/replay", json=body, headers=ADMIN)


def command(ingest: Ingest, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """`analytics-ingest dead-letters …` beside the running service."""
    return subprocess.run(
        [Path(sys.prefix) / "bin/analytics-ingest", "dead-letters", *arguments],
        env={"PATH": os.defpath, "USER": "oncall", **ingest.stage.env()},
        input=stdin, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def lines(done: subprocess.CompletedProcess[str]) -> Iterator[dict[str, Any]]:
    return map(json.loads, done.stdout.splitlines())


def test_a_dead_letter_tells_what_came_from_where_and_what_is_wrong_with_it(
    ingest: Ingest, org_id: UUID, dead: list[dict[str, Any]]
) -> None:
    """Everything that is needed to mend the producer, or the event."""
    letter = dead[2]

    assert letter["reason"] == "missing_field"
    assert (letter["field"], letter["orgId"]) == ("model_id", str(org_id))
    assert "snake_case" in letter["detail"]
    assert (letter["stream"], letter["partition"], letter["messageIndex"]) == ("analytics.usage.v1", 0, 0)
    assert letter["offset"] == dead[1]["offset"] + 1
    assert letter["bodyStart"].startswith('{"org_id":')
    assert (letter["replayedAt"], letter["replayProblem"]) == (None, None)
    whole = get(ingest, f"{LETTERS}/{letter['deadLetterId']}").json()
    assert json.loads(whole["body"])["note"] == "é"
    assert len(whole["body"].encode()) == whole["letter"]["sizeBytes"]


def test_lists_are_filtered_and_paged(ingest: Ingest, org_id: UUID, dead: list[dict[str, Any]]) -> None:
    """Every filter leaves out what it should, and pages neither repeat nor skip."""
    ids = [letter["deadLetterId"] for letter in reversed(dead)]
    first = get(ingest, orgId=org_id, limit=2).json()
    second = get(ingest, orgId=org_id, limit=2, cursor=first["nextCursor"]).json()

    assert [item["deadLetterId"] for item in first["items"] + second["items"]] == ids
    assert second["nextCursor"] is None
    assert len(listed(ingest, orgId=org_id, reason="invalid_type")) == 2
    assert listed(ingest, orgId=uuid4()) == []
    assert listed(ingest, orgId=org_id, partition=1) == []
    assert listed(ingest, orgId=org_id, stream="other") == []
    assert listed(ingest, orgId=org_id, replayed="true") == []
    assert len(listed(ingest, orgId=org_id, replayed="false", start=dead[0]["deadLetteredAt"])) == 3
    assert listed(ingest, orgId=org_id, end=dead[0]["deadLetteredAt"]) == []


def test_a_corrected_event_is_stored_once_however_often_it_is_replayed(
    ingest: Ingest, org_id: UUID, dead: list[dict[str, Any]]
) -> None:
    """The way back is the stream: one writer, one place where events are deduplicated."""
    number = dead[0]["deadLetterId"]
    [event] = events(org_id, 1)
    refused = replay(ingest, deadLetterId=number).json()
    dry = replay(ingest, deadLetterId=number, body=json.dumps(event), dryRun=True).json()
    between = ingest.stored(org_id)
    answers = [replay(ingest, deadLetterId=number, body=json.dumps(event)).json() for _ in range(2)]

    assert (refused["refused"], refused["outcomes"][0]["field"]) == (1, "status")
    assert (dry["replayed"], dry["dryRun"], between) == (1, True, [])
    assert [answer["outcomes"][0]["outcome"] for answer in answers] == ["replayed", "already_replayed"]
    eventually(lambda: ingest.stored(org_id) == [event["eventId"]])
    letter = get(ingest, f"{LETTERS}/{number}").json()
    assert (letter["letter"]["replayedBy"], letter["letter"]["replayProblem"]) == ("root", None)
    assert json.loads(letter["replayedBody"]) == event
    assert [item["deadLetterId"] for item in listed(ingest, orgId=org_id, replayed="true")] == [number]


async def test_two_replays_at_once_publish_once(ingest: Ingest, org_id: UUID, dead: list[dict[str, Any]]) -> None:
    """The second waits for the first, and then finds the letter replayed."""
    [event] = events(org_id, 1)
    body = {"deadLetterId": dead[0]["deadLetterId"], "body": json.dumps(event)}
    async with httpx.AsyncClient(headers=ADMIN, timeout=30, trust_env=False) as client:
        answers = await asyncio.gather(*(client.post(f"{ingest.url}{LETTERS}/replay", json=body) for _ in range(6)))

    outcomes = sorted(answer.json()["outcomes"][0]["outcome"] for answer in answers)
    assert outcomes == ["already_replayed"] * 5 + ["replayed"]
    assert sum(event["eventId"].encode() in each for each in await ingest.stream.bodies(1)) == 1


def test_all_that_match_are_replayed_page_by_page_and_what_is_still_wrong_says_why(
    ingest: Ingest, org_id: UUID, dead: list[dict[str, Any]]
) -> None:
    """A producer sent its events an hour too early: later they are right, without a correction."""
    sent = events(org_id, 3)
    ingest.stage.rows(  # the same letters as if they had been refused for a time that has passed since
        "UPDATE analytics.dead_letters SET body = CASE dead_letter_id WHEN %s THEN %s WHEN %s THEN %s ELSE body END",
        dead[0]["deadLetterId"], msgspec.json.encode(sent[0]), dead[1]["deadLetterId"], msgspec.json.encode(sent[1]),
    )  # fmt: skip
    wanted = {"orgId": str(org_id)}
    first = replay(ingest, filter=wanted, limit=2).json()
    second = replay(ingest, filter=wanted, limit=2, cursor=first["nextCursor"]).json()
    again = replay(ingest, filter=wanted).json()

    assert (first["replayed"], first["refused"], second["replayed"], second["refused"]) == (2, 0, 0, 1)
    assert second["nextCursor"] is None
    assert (again["replayed"], again["refused"]) == (0, 1)
    eventually(lambda: ingest.stored(org_id) == sorted(event["eventId"] for event in sent[:2]))
    [waiting] = listed(ingest, orgId=org_id, replayed="false")
    assert waiting["replayProblem"].startswith("missing_field: model_id: ")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "deadLetterId"),
        ({"deadLetterId": 1, "filter": {}}, "deadLetterId"),
        ({"filter": {"reson": "x"}}, "filter.reson"),
        ({"filter": {"start": "2026-03-10T12:00:00"}}, "filter.start"),
        ({"filter": {"end": "0001-01-01T00:00:00+14:00"}}, "filter.end"),
        ({"filter": {"reason": "mising_field"}}, "filter.reason"),
        ({"filter": {"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}}, "filter.end"),
        ({"filter": {}, "body": "{}"}, "body"),
        ({"deadLetterId": 1, "limit": 5}, "limit"),
        ({"filter": {}, "limit": 0}, "limit"),
        ({"filter": {}, "cursor": "AAAA"}, "cursor"),
        ({"deadLetterId": 2**63}, "deadLetterId"),
        ({"deadLetterId": 1, "all": True}, "all"),
    ],
)
def test_a_wrong_request_names_its_field(ingest: Ingest, body: dict[str, Any], field: str) -> None:
    """Nothing is replayed by a request that is not understood to the last word."""
    answer = replay(ingest, **body)

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("query", "field"),
    [("resaon=x", "resaon"), ("start=2026-03-10T12:00:00", "start"), ("limit=1001", "limit"), ("orgId=me", "orgId"),
     ("cursor=%00", "cursor"), ("partition=-1", "partition"), ("replayed=maybe", "replayed"),
     ("reason=too_old&reason=too_large", "reason"), ("reason=mising_field", "reason"),
     ("stream=a%00", "stream"), ("end=0001-01-01T00:00:00%2B14:00", "end"),
     ("start=2026-03-02T00:00:00Z&end=2026-03-01T00:00:00Z", "end")],
)  # fmt: skip
def test_a_wrong_query_names_its_parameter(ingest: Ingest, query: str, field: str) -> None:
    """A misspelt filter must not look like one that matches everything."""
    answer = get(ingest, f"{LETTERS}?{query}")

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_body_that_is_nested_too_deeply_is_refused(ingest: Ingest) -> None:
    """A stack that runs out is the caller's doing, not a failure of ours."""
    body = b'{"filter":' + b"[" * 100_000
    answer = ingest.post(f"{LETTERS}/replay", content=body, headers=ADMIN | {"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["detail"]) == (422, "the body is nested too deeply")


def test_what_does_not_exist_is_not_found(ingest: Ingest) -> None:
    """By id, for both."""
    for number in (0, 2**62, 2**70):
        assert get(ingest, f"{LETTERS}/{number}").status_code == 404
    assert replay(ingest, deadLetterId=2**62).status_code == 404


def test_only_the_administrator_may_and_every_attempt_is_recorded(ingest: Ingest, org_id: UUID) -> None:
    """Bodies are of all organisations: an organisation's own administrator sees none of them."""
    attempts = [
        ("org-admin", ["org:admin"], 403),
        ("writer", ["analytics:events:write"], 403),
        ("boss", ["admin"], 200),
    ]
    for subject, roles, status in attempts:
        headers = bearer(*roles, orgs=[org_id], subject=f"{subject}-{org_id}")
        assert httpx.get(ingest.url + LETTERS, headers=headers, trust_env=False).status_code == status
        answer = ingest.post(f"{LETTERS}/replay", json={"filter": {"orgId": str(org_id)}}, headers=headers)
        assert answer.status_code == status
        decision = "allow" if status == 200 else "deny"
        assert [row[1] for row in ingest.audited(f"{subject}-{org_id}")] == [decision] * 2
    assert httpx.get(ingest.url + LETTERS, trust_env=False).status_code == 401


def test_the_command_line_lists_shows_corrects_and_replays(
    ingest: Ingest, org_id: UUID, dead: list[dict[str, Any]], tmp_path: Path
) -> None:
    """An operator's round: find it, take its bytes, mend them, send them again; all of it in the audit log."""
    number = str(dead[1]["deadLetterId"])
    me = ("--as", f"me-{org_id}")
    found = list(lines(command(ingest, "list", "--org", str(org_id), "--json", *me)))
    body = command(ingest, "show", number, "--body", *me).stdout
    refused = command(ingest, "replay", number, *me)
    corrected = tmp_path / "event.json"
    corrected.write_text(json.dumps(json.loads(body) | {"status": "success"}))
    first = command(ingest, "replay", number, "--body", str(corrected), "--json", *me)
    second = command(ingest, "replay", number, "--body", "-", *me, stdin=corrected.read_text())

    assert [each["deadLetterId"] for each in found] == [letter["deadLetterId"] for letter in reversed(dead)]
    assert (refused.returncode, "refused again: invalid_type status" in refused.stdout) == (3, True)
    assert (first.returncode, list(lines(first))[-1]["replayed"]) == (0, 1)
    assert (second.returncode, second.stdout.splitlines()[0]) == (0, f"{number}: was replayed before")
    eventually(lambda: ingest.stored(org_id) == [json.loads(body)["eventId"]])
    assert [row[1] for row in ingest.audited(f"me-{org_id}")] == ["allow"] * 5
    assert get(ingest, f"{LETTERS}/{number}").json()["letter"]["replayedBy"] == f"me-{org_id}"


def test_the_command_line_explains_itself(ingest: Ingest) -> None:
    """Exit codes for scripts, one line for people."""
    missing = command(ingest, "show", "4611686018427387904")
    empty = command(ingest, "replay", "--reason", "not_storable", "--org", str(uuid4()))
    no_file = command(ingest, "replay", "1", "--body", "/nofile")

    assert (missing.returncode, missing.stderr) == (1, "there is no dead letter 4611686018427387904\n")
    assert (no_file.returncode, "error: --body: cannot read /nofile: No such file" in no_file.stderr) == (2, True)
    assert (empty.returncode, empty.stdout) == (0, "0 replayed, 0 refused again\n")
