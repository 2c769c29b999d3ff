"""Spreads the partitions evenly over the processes that are well. Who may write is decided by leases alone."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic

import structlog

from analytics_core.database import WriteDatabase
from analytics_core.lifecycle import sleep_unless_stopped
from analytics_core.sql import load_queries
from analytics_core.telemetry.logs import redact_text
from analytics_ingest.leases import Leases
from analytics_ingest.limits import ANNOUNCE_EVERY_MAX, ANNOUNCEMENTS_PER_LEASE, TROUBLE_PAUSE

QUERIES = load_queries("analytics_ingest", "balance")

log = structlog.get_logger()


def surplus(owned: Mapping[str, int], owner: str, partitions: int) -> int:
    """How many partitions an owner has to give back, by what every announced process owns. Pure.

    Nobody gives while a partition has no announced owner: one is on its way already, and counts do not show whose it
    will be. Giving ends when counts differ by one at most, and then nothing moves until somebody comes or goes.
    """
    if owner not in owned or sum(owned.values()) < partitions:
        return 0
    least, rest = divmod(partitions, len(owned))
    most = least + bool(rest)
    if owned[owner] > most:
        return owned[owner] - most
    richest = max(owned, key=lambda name: (owned[name], name))
    return int(owner == richest and owned[owner] > least and min(owned.values()) < least)


class Balance:
    """Announces this process, and marks leases that somebody else should have; their workers give them back."""

    def __init__(self, database: WriteDatabase, stream: str, partitions: int, leases: Leases) -> None:
        self._database = database
        self._stream = stream
        self._partitions = partitions
        self._leases = leases

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped; then the others know at once. Raises nothing."""
        lease = self._leases.duration
        every = min(lease / ANNOUNCEMENTS_PER_LEASE, ANNOUNCE_EVERY_MAX)
        while not stop.is_set():
            try:
                # Forgotten before our leases end: whoever takes them over need not leave anything for us.
                await self.turn(alive_for=lease / 2)
            except Exception as error:  # noqa: BLE001 — uneven is better than stopped
                log.warning("not_balanced", error=redact_text(f"{type(error).__name__}: {error}"))
            await sleep_unless_stopped(stop, every.total_seconds())
        try:
            async with asyncio.timeout(every.total_seconds()):
                await self._withdraw()
        except Exception as error:  # noqa: BLE001 — the announcement runs out by itself
            log.warning("not_withdrawn", error=redact_text(f"{type(error).__name__}: {error}"))

    async def turn(self, alive_for: timedelta) -> None:
        """Announce, or withdraw while reading fails here; mark what is too much."""
        failed_at = self._leases.reading_failed_at
        if failed_at is not None and monotonic() < failed_at + TROUBLE_PAUSE.total_seconds():
            await self._withdraw()
            return
        async with self._database.write(synchronous_commit=False) as session:
            await session.execute(QUERIES["announce"], self._stream, self._leases.owner, alive_for)
        async with self._database.read() as session:
            rows = await session.fetch(QUERIES["shares"], self._stream, self._partitions)
        self._mark({row["owner"]: row["owned"] for row in rows})

    def _mark(self, owned: Mapping[str, int]) -> None:
        excess = surplus(owned, self._leases.owner, self._partitions)
        leases = self._leases.held.values()
        excess -= sum(lease.is_surplus for lease in leases)
        for lease in [lease for lease in leases if lease.is_reading and not lease.is_surplus][: max(0, excess)]:
            log.info("partition_given_back", partition=lease.partition, processes=len(owned))
            lease.is_surplus = True

    async def _withdraw(self) -> None:
        async with self._database.write(synchronous_commit=False) as session:
            await session.execute(QUERIES["withdraw"], self._stream, self._leases.owner)
