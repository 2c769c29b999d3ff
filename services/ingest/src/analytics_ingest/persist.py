"""Writes a batch: offset, events, batch row and dead letters in one transaction, or nothing of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from time import monotonic
from typing import Any

import msgspec
import structlog

from analytics_core.database import UNREACHABLE, WriteDatabase, WriteSession
from analytics_core.errors import FencedError
from analytics_core.events import UsageEvent
from analytics_core.sql import load_queries
from analytics_ingest.batch import Batch
from analytics_ingest.leases import Lease
from analytics_ingest.limits import DEDUPE_WINDOW

QUERIES = load_queries("analytics_ingest", "batches")
EVENT_COLUMNS = (
    "org_id", "event_id", "occurred_at", "body_hash", "cost_microcents", "latency_ms", "input_tokens",
    "output_tokens", "cached_input_tokens", "reasoning_tokens", "status", "model_id", "actor_id", "client_id",
    "error_code", "metadata",
)  # fmt: skip
DEAD_LETTER_COLUMNS = ("batch_id", "stream", "partition", "stream_offset", "reason", "field", "detail", "body")
DAY = timedelta(days=1)

_occurred_at = attrgetter("occurred_at")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a committed batch came to. received = stored + duplicates + rejected; conflicts are among the duplicates."""

    batch_id: int
    received: int
    stored: int
    duplicates: int
    conflicts: int
    rejected: int
    accepted_through: datetime
    committed_at: datetime


async def persist(database: WriteDatabase, lease: Lease, batch: Batch) -> Receipt:
    """Commit the batch and move the lease's position behind it.

    Raises `FencedError` when the position is not where the lease says: somebody else writes this partition, or the
    database lost its last moments; `LeaseExpired`; or what the database raised. Nothing is written then, unless the
    connection broke during the commit and cannot be made again: the next owner, us included, finds out.
    """
    lease.require()
    asked_at = monotonic()
    receipt: Receipt | None = None
    try:
        # Without waiting for the disk: a crash of the database undoes the last commits whole and in order, offset and
        # events together, and the stream still has the messages. A later commit that does wait (the fold's, an
        # export's) makes all earlier ones durable, so that nobody builds on a batch that could vanish.
        async with database.write(synchronous_commit=False) as session:
            receipt = await _write(session, lease, batch)
    except UNREACHABLE:
        if receipt is None or not await _is_committed(database, lease, batch):
            raise
        log.warning("commit_confirmed_after_lost_connection", partition=lease.partition, batch_id=receipt.batch_id)
    lease.next_offset, lease.last_accepted_at = batch.last_offset + 1, batch.last_accepted_at
    lease.accepted_through = receipt.accepted_through
    lease.renewed_at = max(lease.renewed_at, asked_at)
    return receipt


async def _write(session: WriteSession, lease: Lease, batch: Batch) -> Receipt:
    position = await session.fetch_row(
        QUERIES["advance_offset"],
        lease.stream,
        lease.partition,
        lease.epoch,
        lease.next_offset,
        batch.last_offset + 1,
        batch.last_accepted_at,
        lease.duration,
    )
    if position is None:
        raise FencedError(f"partition {lease.partition}: not at {lease.next_offset} in epoch {lease.epoch} any more")
    batch_id: int = position["batch_id"]
    stored, conflicts = await store_events(session, batch_id, batch.events)
    receipt = Receipt(
        batch_id=batch_id,
        received=batch.received,
        stored=stored,
        duplicates=batch.duplicates + len(batch.events) - stored,
        conflicts=batch.conflicts + conflicts,
        rejected=len(batch.dead_letters),
        accepted_through=position["accepted_through"],
        committed_at=await _insert_batch(session, lease, batch, batch_id, stored, conflicts),
    )
    if batch.dead_letters:
        await session.copy_records("dead_letters", DEAD_LETTER_COLUMNS, _dead_letter_rows(lease, batch, batch_id))
    return receipt


async def store_events(session: WriteSession, batch_id: int, events: Sequence[UsageEvent]) -> tuple[int, int]:
    """Store the events that are new; how many they were, and how many of the others are conflicts."""
    if not events:
        return 0, 0
    await session.execute(QUERIES["make_incoming"])
    await session.execute(QUERIES["plan_for_values"])
    await session.copy_records("incoming_events", EVENT_COLUMNS, map(_row, events))
    windows = [_window(day) for day in _days(events)]
    stored = sum([await session.execute(QUERIES["store_day"], batch_id, *window) for window in windows])
    if stored == len(events):
        return stored, 0
    conflicts = [await session.fetch_value(QUERIES["count_conflicts"], batch_id, *window) for window in windows]
    return stored, sum(conflicts)


def _row(event: UsageEvent) -> tuple[Any, ...]:
    metadata = event.metadata
    return (
        event.org_id, event.event_id, event.occurred_at, event.body_hash, event.cost_microcents, event.latency_ms,
        event.input_tokens, event.output_tokens, event.cached_input_tokens, event.reasoning_tokens, event.status,
        event.model_id, event.actor_id, event.client_id, event.error_code,
        None if metadata is None else msgspec.json.encode(metadata).decode(),
    )  # fmt: skip


def _days(events: Sequence[UsageEvent]) -> list[datetime]:
    """The UTC days that the events lie in; nearly always one, and then without looking at each event."""
    first, last = map(_day, _bounds(events))
    if last - first <= DAY:
        return sorted({first, last})
    return sorted({_day(event.occurred_at) for event in events})


def _window(day: datetime) -> tuple[datetime, datetime, datetime, datetime]:
    """The day's bounds, and the bounds of where its events' namesakes are looked for."""
    return day, day + DAY, day - DEDUPE_WINDOW, day + DAY + DEDUPE_WINDOW


def _bounds(events: Sequence[UsageEvent]) -> tuple[datetime, datetime]:
    return min(map(_occurred_at, events)), max(map(_occurred_at, events))


def _day(time: datetime) -> datetime:
    return datetime(time.year, time.month, time.day, tzinfo=UTC)


async def _insert_batch(
    session: WriteSession, lease: Lease, batch: Batch, batch_id: int, stored: int, conflicts: int
) -> datetime:
    oldest: datetime | None = None
    newest: datetime | None = None
    if 0 < stored == len(batch.events):
        oldest, newest = _bounds(batch.events)
    elif stored > 0:
        oldest, newest = await session.fetch_row(QUERIES["stored_bounds"], batch_id) or (None, None)
    committed_at: datetime = await session.fetch_value(
        QUERIES["insert_batch"],
        batch_id,
        lease.stream,
        lease.partition,
        batch.first_offset,
        batch.last_offset,
        batch.received,
        stored,
        batch.duplicates + len(batch.events) - stored,
        batch.conflicts + conflicts,
        len(batch.dead_letters),
        oldest,
        newest,
        batch.is_late and stored > 0,
        batch.first_accepted_at,
    )
    return committed_at


def _dead_letter_rows(lease: Lease, batch: Batch, batch_id: int) -> Iterator[tuple[Any, ...]]:
    for offset, _, (reason, field, detail, body) in batch.dead_letters:
        yield batch_id, lease.stream, lease.partition, offset, str(reason), field, detail, body


async def _is_committed(database: WriteDatabase, lease: Lease, batch: Batch) -> bool:
    async with database.read() as session:
        next_offset = await session.fetch_value(QUERIES["read_position"], lease.stream, lease.partition, lease.epoch)
    return bool(next_offset == batch.last_offset + 1)
