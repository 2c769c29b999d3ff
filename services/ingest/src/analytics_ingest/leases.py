"""Who owns which partition: a row in the database, its clock, and an epoch that shuts former owners out."""

import asyncio
import os
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

import structlog

from analytics_core.database import WriteDatabase, WriteSession
from analytics_core.errors import AnalyticsError, FencedError
from analytics_core.sql import load_queries
from analytics_ingest.limits import LEASE_SAFETY, LEFT_TO_OTHERS, RENEWALS_PER_LEASE, SILENT_AFTER

QUERIES = load_queries("analytics_ingest", "leases")
RETRY_SECONDS = 0.5

log = structlog.get_logger()


class LeaseExpired(AnalyticsError):
    """The lease could not be renewed in time; another owner may exist from now on."""


@dataclass(slots=True)
class Lease:
    """The right to write one partition, as long as `require` does not raise.

    `next_offset`, `last_accepted_at` and `accepted_through` are what is committed; they move with each commit.
    """

    stream: str
    partition: int
    epoch: int
    duration: timedelta
    next_offset: int
    last_accepted_at: datetime | None
    accepted_through: datetime | None
    renewed_at: float
    is_writing: bool = False
    """Whether a transaction of ours holds the lease's row: until it ends nobody can take the lease, even if expired."""
    is_reading: bool = False
    """Whether its worker reads; one that stands still keeps its partition, so that nobody else runs into the wall."""
    is_surplus: bool = False
    """Whether to give it back after the batch under way, because somebody else has less to do."""

    def require(self) -> None:
        """Raise `LeaseExpired` when the lease has ended, or nearly."""
        if monotonic() >= self.ends_at:
            raise LeaseExpired(f"partition {self.partition}: no renewal for {monotonic() - self.renewed_at:.1f} s")

    @property
    def ends_at(self) -> float:
        """When its holder has to stop, on the monotonic clock: earlier than the database lets anybody else begin."""
        return self.renewed_at + self.duration.total_seconds() * (1 - LEASE_SAFETY)


@dataclass(frozen=True, slots=True)
class Taken:
    """Somebody else has the lease."""

    owner: str | None
    free_in_seconds: float
    accepted_through: datetime | None


def owner_name(consumer: str) -> str:
    """A name that no other process has, alive or dead, and that tells an operator where to look."""
    return f"{consumer}@{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Leases:
    """Takes, keeps and gives back the leases of one stream for one owner. `held` are those that it has taken."""

    def __init__(self, database: WriteDatabase, stream: str, partitions: int, owner: str, duration: timedelta) -> None:
        self.owner = owner
        self.duration = duration
        self.held: dict[int, Lease] = {}
        self.reading_failed_at: float | None = None
        """When a reader of this process last failed, on the monotonic clock."""
        self._database = database
        self._stream = stream
        self._partitions = partitions
        # One at a time: each counts what we own already.
        self._acquiring = asyncio.Lock()

    async def acquire(self, partition: int) -> Lease | Taken:
        """Take the lease with a new epoch if it is free, expired or already ours.

        The first one to come makes the rows of all partitions: one that nobody reads yet must be known as unread. When
        a lease is over and its row is held by an owner that says nothing any more, that owner's session is ended.
        """
        async with self._acquiring:
            lease = await self._acquire(partition)
        if isinstance(lease, Lease):
            self.held[partition] = lease
        return lease

    async def _acquire(self, partition: int) -> Lease | Taken:
        asked_at = monotonic()
        async with self._database.write() as session:
            row = await session.fetch_row(
                QUERIES["acquire"], self._stream, partition, self.owner, self.duration, LEFT_TO_OTHERS
            )
            if row is None:
                other = await session.fetch_row(QUERIES["look"], self._stream, partition)
                if other is None:
                    await session.execute(QUERIES["add_partitions"], self._stream, self._partitions)
                    return Taken(None, 0.0, None)
                free_in_seconds: float = other["free_in_seconds"] or 0.0
                if free_in_seconds <= 0:
                    await self._end_silent_session(session, partition)
                return Taken(other["owner"], free_in_seconds, other["accepted_through"])
        return Lease(
            stream=self._stream,
            partition=partition,
            epoch=row["epoch"],
            duration=self.duration,
            next_offset=row["next_offset"],
            last_accepted_at=row["last_chunk_at"],
            accepted_through=row["accepted_through"],
            renewed_at=asked_at,
        )

    async def _end_silent_session(self, session: WriteSession, partition: int) -> None:
        ended = await session.fetch(QUERIES["end_silent_session"], self._stream, partition, SILENT_AFTER)
        for row in ended:
            log.warning("silent_owner_ended", partition=partition, session=row["pid"], is_ended=row["is_ended"])

    async def database_time(self) -> datetime:
        """What the database's clock shows, by which leases and freshness go."""
        async with self._database.read() as session:
            now: datetime = await session.fetch_value(QUERIES["database_time"])
        return now

    async def renew(self, lease: Lease, accepted_through: datetime | None = None) -> None:
        """Prolong the lease; with `accepted_through`, also note that everything accepted before it is committed.

        Raises `FencedError` when somebody else has taken over.
        """
        asked_at = monotonic()
        async with self._database.write(synchronous_commit=False) as session:
            row = await session.fetch_row(
                QUERIES["renew"], lease.stream, lease.partition, lease.epoch, lease.duration, accepted_through
            )
        if row is None:
            raise FencedError(f"partition {lease.partition}: epoch {lease.epoch} is over")
        lease.renewed_at = asked_at
        lease.accepted_through = row["accepted_through"]

    async def keep(self, lease: Lease) -> None:
        """Renew until cancelled. Raises `FencedError` or `LeaseExpired`: the caller must not write any more."""
        interval = lease.duration.total_seconds() / RENEWALS_PER_LEASE
        while True:
            await asyncio.sleep(max(0.0, lease.renewed_at + interval - monotonic()))
            if lease.is_writing:
                # A renewal would wait for the same row. A slow batch must end: cancelled, it would be as slow again.
                await asyncio.sleep(RETRY_SECONDS)
                continue
            lease.require()
            # Commits renew the lease too.
            if monotonic() < lease.renewed_at + interval:
                continue
            try:
                async with asyncio.timeout(max(0.0, lease.ends_at - monotonic())):
                    await self.renew(lease)
            except FencedError:
                raise
            except Exception as error:  # noqa: BLE001 — whatever the database says, the lease's end decides
                log.warning("lease_not_renewed", partition=lease.partition, error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def release(self, lease: Lease) -> None:
        """Let the next owner begin at once; a surplus lease is not for us again."""
        if self.held.get(lease.partition) is lease:
            del self.held[lease.partition]
        async with self._database.write() as session:
            await session.execute(QUERIES["release"], lease.stream, lease.partition, lease.epoch, lease.is_surplus)
