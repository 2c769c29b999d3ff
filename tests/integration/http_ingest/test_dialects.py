"""The golden files of the dialects over HTTP and over the stream, down to the table."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from analytics_core import clock
from tests.contract.test_event_dialects import Golden
from tests.integration.http_ingest.conftest import Ingest
from tests.integration.ingest.streaming import publish
from tests.support.polling import eventually

GOLDEN = sorted((Path(__file__).parents[3] / "contracts/events/dialects").glob("*.json"))
WRITTEN_FOR = b"5f0c1b1e-8c1d-4a52-9c55-0d6f4b7a9e10"
COLUMNS = {
    "model_id": "modelId", "status": "status", "latency_ms": "latencyMs", "input_tokens": "inputTokens",
    "output_tokens": "outputTokens", "actor_id": "actorId", "client_id": "clientId", "error_code": "errorCode",
}  # fmt: skip


def golden_files(org_id: UUID) -> list[Golden]:
    """The golden files as if they had been written for this organisation yesterday."""
    yesterday = f"{clock.now() - timedelta(days=1):%Y-%m-%d}".encode()
    # In base64 nothing can be replaced.
    contents = [content for path in GOLDEN if b"data_base64" not in (content := path.read_bytes())]
    moved = [each.replace(WRITTEN_FOR, str(org_id).encode()).replace(b"2026-11-01", yesterday) for each in contents]
    return [msgspec.json.decode(each, type=Golden) for each in moved]


def media_type(case: Golden) -> str:
    if case.dialect == "CloudEvents batch":
        return "application/cloudevents-batch+json"
    return "application/cloudevents+json" if case.dialect.startswith("CloudEvent") else "application/json"


def test_every_dialect_arrives_once_by_whichever_way(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """First over HTTP, then the same on the stream, then as the contract's own events: duplicates, not conflicts."""
    files = golden_files(org_id)
    for case in files:
        answer = ingest.post(content=bytes(case.sent), headers=writer | {"Content-Type": media_type(case)})
        assert (answer.status_code, answer.json()["accepted"]) == (202, len(case.events)), answer.text
    wanted = {str(event["eventId"]): event for case in files for event in map(decoded, case.events)}
    eventually(lambda: ingest.stored(org_id) == sorted(wanted))
    before = ingest.stage.totals()
    canonical = [bytes(event) for case in files for event in case.events]
    asyncio.run(publish(ingest.stage.rabbitmq, [*(bytes(case.sent) for case in files), *canonical]))

    repeated = 2 * len(wanted)
    after = ingest.stage.wait_until_received(before["received"] + repeated)
    assert (after["duplicates"], after["conflicts"]) == (before["duplicates"] + repeated, before["conflicts"])
    for row in ingest.stage.rows("SELECT * FROM analytics.usage_events WHERE org_id = %s", org_id):
        event = wanted[str(row["event_id"])]
        assert {column: row[column] for column in COLUMNS} == {
            column: event.get(field) for column, field in COLUMNS.items()
        }
        assert msgspec.json.decode(row["metadata_json"] or "null") == (event.get("metadata") or None)
        assert row["cost_microcents"] == Decimal(str(event["costEstimateCents"])) * 1_000_000


def decoded(event: msgspec.Raw) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(event)
    return content
