"""Finds the events of a batch that the database refuses, so that they do not hold up the others."""

from collections.abc import Sequence

from analytics_core.database import BAD_DATA, WriteDatabase
from analytics_ingest.event_store import store_events

REFUSALS = (*BAD_DATA, ValueError, OverflowError)
"""What says "not this row" rather than "not now": by the database, or by the driver for a value that does not fit."""

# Every trial is rolled back, so that no row ever carries it.
TRIAL_BATCH_ID = 0


class _Undo(Exception):
    pass


async def find_unstorable(database: WriteDatabase, events: Sequence[bytes]) -> dict[int, str]:
    """The indexes of the events that cannot be stored, each with the database's reason; writes nothing.

    Halves the batch until the culprits are alone: about 2·log2(n) small transactions for each. Events that can only
    not be stored together are not found.
    """
    refusal = await _refusal(database, events)
    if refusal is None:
        return {}
    if len(events) == 1:
        return {0: refusal}
    half = len(events) // 2
    before = await find_unstorable(database, events[:half])
    behind = await find_unstorable(database, events[half:])
    return before | {half + index: why for index, why in behind.items()}


async def _refusal(database: WriteDatabase, events: Sequence[bytes]) -> str | None:
    try:
        await _try_to_store(database, events)
    except _Undo:
        return None
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}"
    return None


async def _try_to_store(database: WriteDatabase, events: Sequence[bytes]) -> None:
    async with database.write() as session:
        await store_events(session, TRIAL_BATCH_ID, events)
        raise _Undo
