"""Hands events from HTTP to the stream, from where they take the same way as everybody's."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from analytics_client import NotConfirmed, PublisherClosed, UsagePublisher
from analytics_core.errors import Unavailable
from analytics_core.telemetry.traces import current_traceparent
from analytics_ingest.limits import (
    HTTP_BYTES_IN_HAND_MAX,
    HTTP_CLOSE_MAX,
    HTTP_CONFIRM_MAX,
    HTTP_EVENTS_IN_HAND_MAX,
    HTTP_LINGER,
)

RETRY_AFTER_SECONDS = 5

tracer = trace.get_tracer("analytics_ingest")


class EventPublisher:
    """Publishes the events of one request at a time and waits for the stream's confirmation."""

    def __init__(self, publisher: UsagePublisher) -> None:
        self._publisher = publisher

    async def publish(self, bodies: Sequence[bytes]) -> None:
        """Return when the stream has all of them. Raises `Unavailable`; then it has none, some, or all of them."""
        try:
            with tracer.start_as_current_span("publish events", kind=SpanKind.PRODUCER):
                await self._publisher.publish_confirmed(bodies, HTTP_CONFIRM_MAX.total_seconds())
        except (NotConfirmed, PublisherClosed):
            raise Unavailable(
                "the stream has not confirmed all events; send the whole request again: an event that arrives twice is"
                " counted once, by its eventId",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from None


def stream_publisher(url: str, stream: str) -> AbstractAsyncContextManager[UsagePublisher]:
    """The connection to the stream. It is opened at once and needs no broker to be there."""
    return UsagePublisher(
        url,
        stream=stream,
        buffer_events_max=HTTP_EVENTS_IN_HAND_MAX,
        buffer_bytes_max=HTTP_BYTES_IN_HAND_MAX,
        linger_seconds=HTTP_LINGER.total_seconds(),
        confirm_seconds=HTTP_CONFIRM_MAX.total_seconds(),
        close_seconds=HTTP_CLOSE_MAX.total_seconds(),
        traceparent=current_traceparent,
    )
