"""Writes a batch: offset, events, batch row and dead letters in one transaction, or nothing of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

import structlog

from analytics_core.database import UNREACHABLE, WriteDatabase, WriteSession
from analytics_core.errors import FencedError
from analytics_core.sql import load_queries
from analytics_core.telemetry.traces import current_traceparent
from analytics_ingest.batch import Batch
from analytics_ingest.decode import claimed_org
from analytics_ingest.event_store import Stored, store_events
from analytics_ingest.leases import Lease

QUERIES = load_queries("analytics_ingest", "batches")
DEAD_LETTER_COLUMNS = (
    "batch_id", "stream", "partition", "stream_offset", "message_index", "reason", "field", "detail", "org_id", "body",
)  # fmt: skip

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
    finally:
        lease.is_writing = False
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
    lease.is_writing = True
    batch_id: int = position["batch_id"]
    stored = await store_events(session, batch_id, batch.events)
    receipt = Receipt(
        batch_id=batch_id,
        received=batch.received,
        stored=stored.events,
        duplicates=batch.received - len(batch.dead_letters) - stored.events,
        conflicts=stored.conflicts,
        rejected=len(batch.dead_letters),
        accepted_through=position["accepted_through"],
        committed_at=await _insert_batch(session, lease, batch, batch_id, stored),
    )
    for gap in batch.gaps:
        await session.execute(
            QUERIES["note_gap"],
            lease.stream,
            lease.partition,
            gap.first_offset,
            gap.end_offset,
            gap.after_at,
            gap.before_at,
        )
    if batch.dead_letters:
        await session.copy_records("dead_letters", DEAD_LETTER_COLUMNS, _dead_letter_rows(lease, batch, batch_id))
    return receipt


async def _insert_batch(session: WriteSession, lease: Lease, batch: Batch, batch_id: int, stored: Stored) -> datetime:
    committed_at: datetime = await session.fetch_value(
        QUERIES["insert_batch"],
        batch_id,
        lease.stream,
        lease.partition,
        batch.first_offset,
        batch.last_offset,
        batch.received,
        stored.events,
        batch.received - len(batch.dead_letters) - stored.events,
        stored.conflicts,
        len(batch.dead_letters),
        batch.rejected_tail,
        stored.oldest,
        stored.newest,
        batch.is_late and stored.events > 0,
        batch.first_accepted_at,
        current_traceparent(),
    )
    return committed_at


def _dead_letter_rows(lease: Lease, batch: Batch, batch_id: int) -> Iterator[tuple[Any, ...]]:
    for offset, index, _, (reason, field, detail, body) in batch.dead_letters:
        place = (batch_id, lease.stream, lease.partition, offset, index)
        yield *place, str(reason), field, detail, claimed_org(body), body


async def _is_committed(database: WriteDatabase, lease: Lease, batch: Batch) -> bool:
    async with database.read() as session:
        next_offset = await session.fetch_value(QUERIES["read_position"], lease.stream, lease.partition, lease.epoch)
    return bool(next_offset == batch.last_offset + 1)
