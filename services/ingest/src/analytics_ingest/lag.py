"""How far the broker is ahead of what is committed, and whether the subscription still delivers."""

import asyncio
from time import monotonic

from analytics_ingest.leases import Lease
from analytics_ingest.limits import LAG_EVERY, STALLED_AFTER
from analytics_ingest.metrics import STREAM_LAG_MESSAGES
from analytics_ingest.stream_client import ReaderFailed
from analytics_ingest.stream_reader import StreamReader


async def watch_lag(reader: StreamReader, lease: Lease) -> None:
    """Measure until cancelled. Raises `ReaderFailed` when messages are there and none has come for long."""
    lag = STREAM_LAG_MESSAGES.labels(lease.partition)
    seen, seen_at = reader.delivered_chunks, monotonic()
    while True:
        end = await reader.end_offset()
        if end is not None:
            lag.set(max(0, end - lease.next_offset))
        if not reader.is_owed or reader.delivered_chunks != seen:
            seen, seen_at = reader.delivered_chunks, monotonic()
        elif monotonic() - seen_at > STALLED_AFTER.total_seconds():
            raise ReaderFailed("stalled", f"the broker has messages up to offset {end}, none came for {STALLED_AFTER}")
        await asyncio.sleep(LAG_EVERY.total_seconds())
