"""Reading a request's body takes neither time nor memory without end."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from analytics_core.errors import RequestTimeout
from analytics_ingest.routes import reading
from analytics_ingest.routes.reading import EventReader


def request_of(body: Any, length: int) -> Any:
    """As much of a request as the reader looks at."""
    return SimpleNamespace(
        content_type=("application/json", {}), headers={"content-length": str(length)}, body=lambda: body
    )


async def test_a_body_that_trickles_is_given_up_and_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow senders would otherwise hold what one caller, and then all, may have in hand."""
    monkeypatch.setattr(reading, "HTTP_BODY_TIME_MAX", timedelta(milliseconds=1))
    reader = EventReader()
    with pytest.raises(RequestTimeout, match="within 1ms"):
        async with reader.read(request_of(asyncio.Event().wait(), 5_000_000), "slow"):
            pass

    assert reader._bytes.held == 0
