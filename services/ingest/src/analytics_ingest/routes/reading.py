"""From an HTTP request to the bytes of its events, within what memory allows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from litestar import Request

from analytics_core.errors import RequestTimeout, TooLarge
from analytics_core.units import format_duration
from analytics_ingest.admission import Admission
from analytics_ingest.event_bodies import inflate, is_compressed, media_type_of, split
from analytics_ingest.limits import (
    HTTP_BODY_BYTES_MAX,
    HTTP_BODY_TIME_MAX,
    HTTP_BYTES_IN_HAND_MAX,
    HTTP_EVENTS_IN_HAND_MAX,
)


class EventReader:
    """Reads requests; what they take counts against the limits until their answer is ready."""

    def __init__(self) -> None:
        self._bytes = Admission("bytes", HTTP_BYTES_IN_HAND_MAX)
        self._events = Admission("events", HTTP_EVENTS_IN_HAND_MAX)

    @asynccontextmanager
    async def read(self, request: Request[Any, Any, Any], caller: str) -> AsyncIterator[list[bytes]]:
        """The request's events, for the length of the block.

        Raises `TooManyRequests`, `Unavailable`, `UnsupportedMediaType`, `RequestTimeout`, `TooLarge` and
        `InvalidRequest`.
        """
        content_type, parameters = request.content_type
        media_type = media_type_of(content_type, parameters.get("charset"))
        compressed = is_compressed(request.headers.get("content-encoding", ""))
        with ExitStack() as held:
            held.enter_context(self._bytes.hold(caller, _declared_bytes(request)))
            body = await _body(request)
            if compressed:
                # Inflating 5 MB takes 20 ms, on a thread without holding up the event loop.
                body = await asyncio.to_thread(inflate, body)
                held.enter_context(self._bytes.hold(caller, len(body)))
            events = split(body, media_type)
            held.enter_context(self._events.hold(caller, len(events)))
            yield events


async def _body(request: Request[Any, Any, Any]) -> bytes:
    """What arrives in time: a sender that trickles must not hold memory that others wait for."""
    try:
        async with asyncio.timeout(HTTP_BODY_TIME_MAX.total_seconds()):
            return await request.body()
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {format_duration(HTTP_BODY_TIME_MAX)}") from None


def _declared_bytes(request: Request[Any, Any, Any]) -> int:
    """What the body may take; a body that is sent in pieces of unknown number may take everything."""
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdigit() else HTTP_BODY_BYTES_MAX
    if size > HTTP_BODY_BYTES_MAX:
        raise TooLarge(f"the body has {size} bytes, the limit is {HTTP_BODY_BYTES_MAX}")
    return size
