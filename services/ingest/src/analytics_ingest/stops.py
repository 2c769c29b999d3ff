"""Partitions that stand still until somebody decides: written down beside their position, whoever owns them."""

from dataclasses import dataclass
from typing import NamedTuple

from analytics_core.access import PlatformScope
from analytics_core.database import ReadSession, WriteDatabase
from analytics_core.errors import Conflict, NotFound
from analytics_core.sql import load_queries
from analytics_ingest.leases import Lease
from analytics_ingest.limits import DEAD_LETTER_WINDOW

QUERIES = load_queries("analytics_ingest", "stops")


class Counts(NamedTuple):
    """Of a committed batch: `rejected_tail` of its messages, the last ones, are dead letters in a row."""

    received: int
    rejected: int
    rejected_tail: int


@dataclass(frozen=True, slots=True)
class History:
    """What the limit on dead letters has to know of before: the latest batches, oldest first.

    Up to offset `allowed_through` an operator has allowed any number; those batches are not among the latest.
    """

    latest: tuple[Counts, ...] = ()
    allowed_through: int = -1
    is_stopped: bool = False


class Stops:
    """The stops of the partitions whose leases this process holds."""

    def __init__(self, database: WriteDatabase, run_max: int) -> None:
        self._database = database
        # Each batch has a message at least: so many hold every run, and the window of the ratio.
        self._batches = max(DEAD_LETTER_WINDOW, run_max)

    async def history(self, lease: Lease) -> History:
        """As committed."""
        async with self._database.read() as session:
            is_stopped, through = await _state(session, lease.stream, lease.partition) or (False, -1)
            rows = await session.fetch(QUERIES["stop_history"], lease.stream, lease.partition, through, self._batches)
        return History(tuple(Counts(*row) for row in reversed(rows)), through, is_stopped)

    async def is_decided(self, lease: Lease) -> bool:
        """Whether somebody has ended the stop."""
        async with self._database.read() as session:
            state = await _state(session, lease.stream, lease.partition)
        return state is None or not state[0]

    async def note(self, lease: Lease, because: str, through: int) -> None:
        """The partition stands still; `through` is the last message that was looked at."""
        async with self._database.write() as session:
            await session.execute(
                QUERIES["note_stop"], lease.stream, lease.partition, lease.epoch, because.replace("\0", " "), through
            )

    async def clear(self, lease: Lease) -> None:
        """The partition goes on by itself: its messages are right now, or the limits have been raised."""
        async with self._database.write() as session:
            await session.execute(QUERIES["clear_stop"], lease.stream, lease.partition, lease.epoch)


async def _state(session: ReadSession, stream: str, partition: int) -> tuple[bool, int] | None:
    """Whether it stands still, and through which offset bad messages are allowed. None: it was never read."""
    row = await session.fetch_row(QUERIES["read_stop"], stream, partition)
    return None if row is None else (row["is_stopped"], row["dead_letters_through"])


async def resume(
    database: WriteDatabase, _scope: PlatformScope, stream: str, partition: int, through: int | None
) -> int:
    """Let the partition go on: up to an offset every bad message becomes a dead letter, however many there are.

    Without `through`, up to the last message that was looked at when it stopped. Its owner goes on within seconds.
    Raises `NotFound`, and `Conflict` when it is not stopped.
    """
    async with database.write() as session:
        if await _state(session, stream, partition) is None:
            raise NotFound(f"{stream} has no partition {partition} that was ever read")
        allowed_through: int | None = await session.fetch_value(QUERIES["resume"], stream, partition, through)
    if allowed_through is None:
        raise Conflict(f"partition {partition} of {stream} is not stopped")
    return allowed_through
