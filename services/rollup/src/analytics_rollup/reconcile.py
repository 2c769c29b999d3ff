"""Proves that the rollups say what the events say, bucket by bucket, and repairs those that do not.

Fine rollups are compared with the events of the batches that are folded into them, days with their hours. A repair is
a transaction a day and rollup, which folds wait for; ingest does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from analytics_core.buckets import DAY
from analytics_core.database import ReadSession, WriteDatabase, WriteSession
from analytics_core.families import ACTOR, DETAIL, MODEL, QUARTERS, Family, Rollup
from analytics_core.sql import load_queries
from analytics_rollup.merge import worded

QUERIES = load_queries("analytics_rollup", "reconcile")

DAILY = "usage_daily"


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

    def days(self) -> Iterator["Range"]:
        """The days of `in_days`, one by one."""
        whole = self.in_days()
        start = whole.start
        while start < whole.end:
            yield Range(start, start + DAY, self.org_id)
            start += DAY


@dataclass(frozen=True, slots=True)
class Check:
    """A rollup, and the function in the database that counts what it has to say."""

    family: Family
    rollup: Rollup
    recount: str

    @property
    def is_daily(self) -> bool:
        return self.rollup.width == DAY


def _checks() -> Iterator[Check]:
    recounts = {MODEL: "", QUARTERS: "", DETAIL: "detail_", ACTOR: "actor_"}
    for family, prefix in recounts.items():
        fine = "quarters" if family is QUARTERS else f"{prefix}hours"
        yield Check(family, family.fine, f"recount_{fine}")
        if family.daily:
            yield Check(family, family.daily, f"recount_{prefix}days")


CHECKS = tuple(_checks())
"""Hours before their days: a repair of an hour shows in what the day has to be."""


@dataclass(frozen=True, slots=True)
class Count:
    """The two numbers of a bucket that are asked for first; what differs may be another one."""

    calls: int
    microcents: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A bucket that does not say what it has to; `key` is the last part of the primary key.

    `stored` is None when the bucket is missing, `recounted` when there should be none.
    """

    table: str
    org_id: UUID
    bucket_start: datetime
    dimensions: dict[str, str]
    key: Any
    stored: Count | None
    recounted: Count | None


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of one table and organisation over a range."""

    table_name: str
    org_id: UUID
    calls: int
    input_tokens: int
    output_tokens: int
    microcents: int


async def totals(session: ReadSession, days: Range) -> list[Totals]:
    """The sums of events and rollups over whole days, in one snapshot."""
    return [Totals(**row) for row in await session.fetch(QUERIES["totals"], days.start, days.end, days.org_id)]


async def retained_since(session: ReadSession) -> datetime | None:
    """Where retention has left all of the tables: nothing before that can be compared. None: nothing was dropped."""
    since: datetime | None = await session.fetch_value(QUERIES["retained_since"])
    return since


async def differences(session: ReadSession, hours: Range) -> list[Difference]:
    """The fine buckets that differ from the events, and the days that differ from their hours."""
    found: list[Difference] = []
    for check in CHECKS:
        found += await _differing(session, check, hours)
    return found


async def repair(database: WriteDatabase, day: Range) -> list[Difference]:
    """Replace what differs by what is right; returns what was replaced. Each rollup on its own: folds wait for one."""
    replaced: list[Difference] = []
    for check in CHECKS:
        async with database.write() as session:
            for other in CHECKS:
                if other.family is check.family:
                    await session.execute(_statements(other)["lock"])
            replaced += await _replace(session, check, day)
    return replaced


async def _differing(session: ReadSession, check: Check, hours: Range) -> list[Difference]:
    where = hours.in_days() if check.is_daily else hours
    rows = await session.fetch(_statements(check)["differing"], where.start, where.end, where.org_id)
    return [
        Difference(
            check.rollup.table,
            row["org_id"],
            row["bucket_start"],
            {name: row[name] for name in check.family.dimensions},
            row[check.family.key[-1]],
            _count(row, "stored"),
            _count(row, "recounted"),
        )
        for row in rows
    ]


def _count(row: Any, side: str) -> Count | None:
    calls: int | None = row[f"{side}_calls"]
    return None if calls is None else Count(calls, row[f"{side}_microcents"])


async def _replace(session: WriteSession, check: Check, hours: Range) -> list[Difference]:
    where = hours.in_days() if check.is_daily else hours
    found = await _differing(session, check, where)
    keys: tuple[list[Any], ...] = (
        [difference.org_id for difference in found],
        [difference.bucket_start for difference in found],
        [difference.key for difference in found],
    )
    if found:
        for name in ("remove", "replace"):
            await session.execute(_statements(check)[name], where.start, where.end, where.org_id, *keys)
        if check.rollup is MODEL.fine:
            await session.execute(QUERIES["revise_days"], *keys[:2])
    return found


@cache
def _statements(check: Check) -> dict[str, str]:
    """The statements are written for the hours of models."""
    written = {
        "lock": QUERIES["lock_rollup"],
        "differing": QUERIES["differing"],
        "remove": QUERIES["remove_ghosts"],
        "replace": QUERIES["replace_buckets"],
    }
    return {name: _worded_for(check, statement) for name, statement in written.items()}


def _worded_for(check: Check, statement: str) -> str:
    key = check.family.key[-1]
    for table in ("stored", "recounted"):
        statement = statement.replace(f"{table}.model_id", f"{table}.{key}")
    if key == "series":
        statement = statement.replace("$6::text[]", "$6::uuid[]")
    return worded(statement.replace("recount_hours", check.recount), check.family, check.rollup)
