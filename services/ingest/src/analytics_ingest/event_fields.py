"""Everything that is wrong with an event, field by field. Pure.

The decoder stops at the first problem, which is right for a stream. Who writes a producer wants all of them: each field
is put into an event that is right otherwise, and the decoder is asked again.
"""

from datetime import datetime, timedelta

import msgspec

from analytics_core.dialects import Translation, translate
from analytics_core.errors import FieldError
from analytics_core.events import EVENT_FIELDS, INT_MAX, REQUIRED_FIELDS, EventRejected
from analytics_ingest.decode import Rejection, decode

WHOLE_EVENT = "event"


def field_errors(body: bytes, now: datetime, retention: timedelta) -> list[FieldError]:
    """One error for each wrong or missing field, named as the producer names it; else one about the field `event`."""
    first = decode(body, now, retention)
    if not isinstance(first, Rejection):
        return []
    found: dict[str, str] = {}
    event = _translated(body)
    for name in EVENT_FIELDS:
        if name in event.fields:
            probed = decode(msgspec.json.encode(_right(now) | {name: event.fields[name]}), now, retention)
            if isinstance(probed, Rejection):
                found[event.spelled(probed.field or name)] = probed.detail
        elif event.spelled(name) in event.missing and len(event.missing) < len(REQUIRED_FIELDS):
            found[event.spelled(name)] = "required, but missing"
    if not found:  # the fields are right one by one, not together; or it is no event at all
        found[first.field or WHOLE_EVENT] = first.detail
    return [FieldError(name, detail) for name, detail in found.items()]


def _translated(body: bytes) -> Translation:
    try:
        return translate(body)
    except EventRejected:
        return Translation("", {}, {}, (), has_unknown_fields=False)


def _right(now: datetime) -> dict[str, object]:
    """An event in which any field can be replaced by a right one without breaking a rule about two fields."""
    return {
        "eventId": "00000000-0000-4000-8000-000000000000",
        "orgId": "00000000-0000-4000-8000-000000000000",
        "modelId": "any",
        "occurredAt": now,
        "status": "error",
        "latencyMs": 0,
        "inputTokens": INT_MAX,
        "outputTokens": INT_MAX,
        "costEstimateCents": 0,
    }
