"""What an operator can see and decide about partitions: their position, and that nobody reads one any more."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analytics_core.access import PlatformScope
from analytics_core.database import ReadDatabase, WriteDatabase, WriteSession
from analytics_core.errors import Conflict, NotFound
from analytics_core.sql import load_queries

QUERIES = load_queries("analytics_ingest", "partitions")


@dataclass(frozen=True, slots=True)
class Moved:
    """A position before and after."""

    before: int
    now: int


async def list_partitions(database: ReadDatabase, _: PlatformScope) -> list[dict[str, Any]]:
    """Every partition of every stream that was ever read, with its owner, position, stop and gaps."""
    async with database.read() as session:
        return [dict(row) for row in await session.fetch(QUERIES["list_partitions"])]


async def list_gaps(database: ReadDatabase, _: PlatformScope) -> list[dict[str, Any]]:
    """All recorded gaps, the newest first."""
    async with database.read() as session:
        return [dict(row) for row in await session.fetch(QUERIES["list_gaps"])]


async def reset(
    database: WriteDatabase, _: PlatformScope, stream: str, partition: int, to: int, skipped_from: int | None
) -> Moved:
    """Continue at offset `to`; the owner loses the partition and takes it anew from there. Raises `NotFound`.

    A step forward is a gap, and so is what lies before `to` from `skipped_from` on. What is read a second time counts
    once. Freshness of a partition that stepped back is unknown until it has committed something.
    """
    async with database.write() as session:
        before = await _lock_position(session, stream, partition)
        await session.execute(QUERIES["move_position"], stream, partition, to)
        first = before if to >= before else skipped_from
        if first is not None and first < to:
            await session.execute(QUERIES["note_skipped"], stream, partition, first, to)
    return Moved(before, to)


async def retire(database: WriteDatabase, _: PlatformScope, stream: str, partition: int) -> datetime:
    """Say that nobody reads the partition any more: it no longer holds freshness back.

    Raises `NotFound`, and `Conflict` while somebody does read it.

    A process that does read it takes its lease, and that makes the partition count again.
    """
    async with database.write() as session:
        await _lock_position(session, stream, partition)
        retired_at: datetime | None = await session.fetch_value(QUERIES["retire"], stream, partition)
    if retired_at is None:
        raise Conflict(f"partition {partition} of {stream} has an owner, who reads it")
    return retired_at


async def _lock_position(session: WriteSession, stream: str, partition: int) -> int:
    position: int | None = await session.fetch_value(QUERIES["lock_position"], stream, partition)
    if position is None:
        raise NotFound(f"{stream} has no partition {partition} that was ever read")
    return position
