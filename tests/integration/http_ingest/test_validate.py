"""POST /events/validate: everything that is wrong, and no effect."""

from typing import Any
from uuid import UUID, uuid4

import msgspec

from tests.integration.http_ingest.conftest import WRITE, Ingest, events
from tests.support.callers import bearer

VALIDATE = "/analytics/v1/events/validate"


def errors(answer: Any) -> dict[str, str]:
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), answer.text
    assert answer.json()["code"] == "invalid-event"
    return {error["field"]: error["detail"] for error in answer.json().get("errors", [])}


def test_right_events_are_told_so_and_not_stored(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """204 for one event, an array, lines."""
    body = events(org_id, 2)

    assert ingest.post(VALIDATE, json=body[0], headers=writer).status_code == 204
    assert ingest.post(VALIDATE, json=body, headers=writer).status_code == 204
    lines = b"\n".join(map(msgspec.json.encode, body))
    ndjson = writer | {"Content-Type": "application/x-ndjson"}
    assert ingest.post(VALIDATE, content=lines, headers=ndjson).status_code == 204
    assert ingest.stored(org_id) == []


def test_every_wrong_field_is_named(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """One run shows a producer's developer everything that is to be mended."""
    event = events(org_id, 1, latencyMs=-1, status="ok", costEstimateCents="0.0000001", metadata={"key": 1})[0]
    del event["modelId"]

    found = errors(ingest.post(VALIDATE, json=event, headers=writer))

    assert found.keys() == {"latencyMs", "status", "costEstimateCents", "metadata", "modelId"}
    assert found["modelId"] == "required, but missing"


def test_fields_that_do_not_go_together_are_named(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """Each of them is right alone."""
    event = events(org_id, 1, inputTokens=1, cachedInputTokens=2)[0]

    assert errors(ingest.post(VALIDATE, json=event, headers=writer)).keys() == {"cachedInputTokens"}


def test_among_several_events_the_field_has_its_events_place(
    ingest: Ingest, org_id: UUID, writer: dict[str, str]
) -> None:
    """Index and field, as in the receipts."""
    body = [*events(org_id, 1), *events(org_id, 1, status="no"), *events(uuid4(), 1), 7]

    found = errors(ingest.post(VALIDATE, json=body, headers=writer))

    assert found.keys() == {"[1].status", "[2].orgId", "[3].event"}


def test_a_foreign_organisation_is_an_error_and_audited(ingest: Ingest, org_id: UUID) -> None:
    """POST /events would reject it, so this must not say that it is right."""
    foreign, subject = uuid4(), f"developer-{uuid4()}"
    headers = bearer(WRITE, orgs=[org_id], subject=subject)

    assert errors(ingest.post(VALIDATE, json=events(foreign, 1)[0], headers=headers)).keys() == {"orgId"}
    assert ingest.audited(subject) == [(foreign, "deny", "foreign-org")]


def test_what_is_no_json_is_a_400_too(ingest: Ingest, writer: dict[str, str]) -> None:
    """The contract of this route knows no 422."""
    answer = ingest.post(VALIDATE, content=b"{", headers=writer)

    assert errors(answer) == {}
    assert "JSON" in answer.json()["detail"]


def test_a_parameter_is_named(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """One that is ignored would make the check look like another one than it is."""
    answer = ingest.post(f"{VALIDATE}?strict=true", json=events(org_id, 1)[0], headers=writer)

    assert errors(answer) == {"strict": "unknown parameter; there are none"}


def test_it_needs_the_same_role(ingest: Ingest, org_id: UUID) -> None:
    """Validation tells about organisations, so it is no public service."""
    body = events(org_id, 1)[0]

    assert ingest.post(VALIDATE, json=body).status_code == 401
    assert ingest.post(VALIDATE, json=body, headers=bearer(orgs=[org_id])).status_code == 403
