"""Erasure: removes the events of an organisation, or of one of its actors, and corrects what the rollups say.

Day by day, events in transactions of bounded size, then the day's rollups by a recount of what is left. A day whose
events retention has dropped cannot be counted anew: an organisation's buckets are removed, an actor's name is replaced.
Every batch's erased events are counted in `erased_events`, so that stored_count minus them is what is to be found.
An erasure that was interrupted goes on where it was, when it is asked for again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from analytics_core.buckets import DAY
from analytics_core.database import ReadDatabase, ReadSession, WriteDatabase, WriteSession
from analytics_core.families import ACTOR, FAMILIES, MODEL
from analytics_core.sql import load_queries
from analytics_rollup.limits import ERASED_AT_ONCE
from analytics_rollup.reconcile import Range, repair

QUERIES = load_queries("analytics_rollup", "erasure")

SERVICE = "analytics-rollup"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose events to erase (all of the organisation's without an actor), and who asked for it."""

    org_id: UUID
    actor_id: str | None
    requested_by: str


@dataclass(frozen=True, slots=True)
class Progress:
    """After a day: how many events are erased since the erasure began."""

    day: datetime
    erased_events: int


async def count_events(database: ReadDatabase, wanted: Wanted) -> int:
    """How many events an erasure would remove now."""
    total = 0
    async with database.read() as session:
        for day in await _days(session, wanted.org_id, None):
            arguments = (wanted.org_id, wanted.actor_id, day, day + DAY)
            total += await session.fetch_value(QUERIES["count_events"], *arguments)
    return total


async def _days(session: ReadSession, org_id: UUID, since: datetime | None) -> list[datetime]:
    return [row["day"] for row in await session.fetch(QUERIES["days"], org_id, since)]


async def erase(database: WriteDatabase, wanted: Wanted, report: Callable[[Progress], None]) -> int:
    """Erase everything that is there now; the number of events, those of an interrupted run included."""
    erasure = await _Erasure.begin(database, wanted)
    for day in await erasure.days():
        await erasure.erase_day(day)
        report(Progress(day, erasure.events))
    await erasure.complete()
    return erasure.events


@dataclass(slots=True)
class _Erasure:
    database: WriteDatabase
    wanted: Wanted
    erasure_id: int
    events: int
    done_before: datetime | None
    kept_since: datetime | None
    is_resumed: bool

    @classmethod
    async def begin(cls, database: WriteDatabase, wanted: Wanted) -> "_Erasure":
        """A new one, or the one that was interrupted."""
        async with database.write() as session:
            row = await session.fetch_row(QUERIES["unfinished"], wanted.org_id, wanted.actor_id)
            if row is None:
                erasure_id = await session.fetch_value(
                    QUERIES["begin"], wanted.org_id, wanted.actor_id, wanted.requested_by
                )
                row = {"erasure_id": erasure_id, "erased_before": None, "erased_events": 0}
                action = "begun"
            else:
                action = "taken up again"
            kept_since = await session.fetch_value(QUERIES["kept_since"])
            erasure = cls(
                database,
                wanted,
                row["erasure_id"],
                row["erased_events"],
                row["erased_before"],
                kept_since,
                is_resumed=action != "begun",
            )
            await erasure._record(session, action)
        return erasure

    async def days(self) -> list[datetime]:
        async with self.database.read() as session:
            return await _days(session, self.wanted.org_id, self.done_before)

    async def erase_day(self, day: datetime) -> None:
        before = self.events
        while await self._erase_some(day):
            pass
        if self.kept_since is not None and day < self.kept_since:
            await self._without_events(day)
        elif self.events > before or self.is_resumed:
            # The first day after an interruption may have lost its events without being counted anew.
            await repair(self.database, Range(day, day + DAY, self.wanted.org_id))
        async with self.database.write() as session:
            await session.execute(QUERIES["note_day"], self.erasure_id, day + DAY)
        self.is_resumed = False

    async def _erase_some(self, day: datetime) -> bool:
        async with self.database.write() as session:
            erased: int = await session.fetch_value(
                QUERIES["erase_events"], self.erasure_id, self.wanted.actor_id, day, day + DAY, ERASED_AT_ONCE
            )
            await session.execute(QUERIES["note_events"], self.erasure_id, erased)
        self.events += erased
        return erased == ERASED_AT_ONCE

    async def _without_events(self, day: datetime) -> None:
        org_id, actor_id = self.wanted.org_id, self.wanted.actor_id
        async with self.database.write() as session:
            if actor_id is None:
                for table in (rollup.table for family in FAMILIES.values() for rollup in family.rollups):
                    statement = QUERIES["remove_buckets"].replace(MODEL.fine.table, table)
                    await session.execute(statement, org_id, day, day + DAY)
                return
            name = f"erased-{self.erasure_id}"
            for table in (rollup.table for rollup in ACTOR.rollups):
                statement = QUERIES["forget_actor"].replace(ACTOR.fine.table, table)
                await session.execute(statement, org_id, actor_id, name, day, day + DAY)

    async def complete(self) -> None:
        async with self.database.write() as session:
            await session.fetch_value(QUERIES["erase_dead_letters"], self.erasure_id, self.wanted.actor_id)
            await session.execute(QUERIES["remove_freshness"], self.wanted.org_id)
            await session.execute(QUERIES["complete"], self.erasure_id)
            await self._record(session, f"completed: {self.events} events")

    async def _record(self, session: WriteSession, what: str) -> None:
        whose = "the organisation" if self.wanted.actor_id is None else "one actor"
        reason = f"erasure {self.erasure_id} of {whose} {what}"
        await session.execute(
            QUERIES["record"], SERVICE, self.wanted.requested_by, self.wanted.org_id, reason, str(uuid4())
        )
