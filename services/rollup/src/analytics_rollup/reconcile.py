"""Proves that the rollups say what the events say, bucket by bucket, and repairs those that do not.

sum(usage_events) = sum(usage_hourly) = sum(usage_daily) over the batches that are folded.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from analytics_core.buckets import DAY
from analytics_core.database import ReadSession, WriteDatabase, WriteSession
from analytics_core.sql import load_queries

QUERIES = load_queries("analytics_rollup", "reconcile")

HOURLY, DAILY = "usage_hourly", "usage_daily"


@dataclass(frozen=True, slots=True)
class Range:
    """Whole hours in [start, end), of one organisation or of all (None)."""

    start: datetime
    end: datetime
    org_id: UUID | None = None

    def in_days(self) -> "Range":
        """The whole UTC days that these hours are part of."""
        first = self.start.replace(hour=0)
        last = self.end.replace(hour=0)
        return Range(first, last if last == self.end else last + DAY, self.org_id)


@dataclass(frozen=True, slots=True)
class Difference:
    """A bucket that does not say what it has to."""

    table: str
    org_id: UUID
    bucket_start: datetime
    model_id: str


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of one table over a range."""

    table_name: str
    calls: int
    input_tokens: int
    output_tokens: int
    microcents: int


async def totals(session: ReadSession, days: Range) -> list[Totals]:
    """The three tables' sums over whole days, in one snapshot."""
    return [Totals(**row) for row in await session.fetch(QUERIES["totals"], days.start, days.end, days.org_id)]


async def differences(session: ReadSession, hours: Range) -> list[Difference]:
    """The hours that differ from the events, and the days that differ from their hours."""
    days = hours.in_days()
    return [*await _differing(session, HOURLY, hours), *await _differing(session, DAILY, days)]


async def repair(database: WriteDatabase, hours: Range) -> list[Difference]:
    """Replace what differs by what is right, in one transaction that folds wait for; returns what was replaced."""
    async with database.write() as session:
        await session.execute(QUERIES["lock_rollups"])
        replaced = await _replace(session, HOURLY, hours)
        return replaced + await _replace(session, DAILY, hours.in_days())


async def _differing(session: ReadSession, table: str, where: Range) -> list[Difference]:
    query = _worded_for(table, QUERIES["differing"])
    return [Difference(table, **row) for row in await session.fetch(query, where.start, where.end, where.org_id)]


async def _replace(session: WriteSession, table: str, where: Range) -> list[Difference]:
    found = await _differing(session, table, where)
    keys: tuple[list[Any], ...] = (
        [difference.org_id for difference in found],
        [difference.bucket_start for difference in found],
        [difference.model_id for difference in found],
    )
    if found:
        for statement in (QUERIES["remove_ghosts"], QUERIES["replace_buckets"]):
            await session.execute(_worded_for(table, statement), where.start, where.end, where.org_id, *keys)
    return found


def _worded_for(table: str, statement: str) -> str:
    """The two rollups differ in their names alone; the statements are written for the hours."""
    if table == HOURLY:
        return statement
    return statement.replace("usage_hourly", "usage_daily").replace("recount_hours", "recount_days")
