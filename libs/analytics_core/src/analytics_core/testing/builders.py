"""Builders: a valid thing in one call, with only what the test is about spelled out."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

ORG_ID = UUID("6b1f0c1e-8f0a-4c53-9b9e-2d1f5a7c0001")
OTHER_ORG_ID = UUID("6b1f0c1e-8f0a-4c53-9b9e-2d1f5a7c0002")
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def usage_event(**fields: Any) -> dict[str, Any]:
    """A valid usage event as producers send it; keyword arguments are its camelCase fields, None leaves one out."""
    event = {
        "eventId": str(uuid4()),
        "orgId": str(ORG_ID),
        "modelId": "gpt-4o",
        "occurredAt": NOON.isoformat(),
        "status": "success",
        "latencyMs": 420,
        "inputTokens": 100,
        "outputTokens": 50,
        "costEstimateCents": "0.125",
    } | fields
    return {name: value for name, value in event.items() if value is not None}


def event_body(**fields: Any) -> bytes:
    """The bytes of `usage_event(**fields)`."""
    return msgspec.json.encode(usage_event(**fields))
