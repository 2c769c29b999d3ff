"""CloudEvents batches: a message that is an array of CloudEvents is that many events. Pure."""

from analytics_core.dialects import is_cloud_event
from analytics_core.errors import ApiError
from analytics_ingest.event_bodies import JSON, split


def cloud_events_in(body: bytes) -> list[bytes] | None:
    """The elements of an array with at least one CloudEvent among them, 1 to 1,000; None when the body is none.

    Each element is then an event or a dead letter of its own. An array of anything else is no usage event: one message
    is one event, and only the CloudEvents standard says otherwise.
    """
    if body.lstrip()[:1] != b"[":
        return None
    try:
        elements = split(body, JSON)
    except ApiError:
        return None
    return elements if any(map(is_cloud_event, elements)) else None
