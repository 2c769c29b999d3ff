"""The model fold: one transaction adds some batches to the family of models and marks them folded.

A batch is in usage_hourly and usage_daily if and only if its `folded_at` is set, so a kill at any moment leaves nothing
to mend.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from analytics_core.database import BAD_DATA, WriteDatabase, WriteSession
from analytics_core.errors import AnalyticsError
from analytics_core.families import MODEL
from analytics_core.messages import ORG_IDS_MAX
from analytics_core.sql import load_queries
from analytics_core.telemetry.traces import current_traceparent, link_current_span
from analytics_rollup.limits import BATCHES_MAX, EVENTS_MAX
from analytics_rollup.merge import merge, plan_with_values, take_turn

QUERIES = load_queries("analytics_rollup", "fold")


class NotFoldable(AnalyticsError):
    """These batches cannot be folded as they are; nothing was written. One of them may be the culprit for all."""

    def __init__(self, batch_ids: Sequence[int], reason: str) -> None:
        super().__init__(f"batches {', '.join(map(str, batch_ids))}: {reason}")
        self.batch_ids = list(batch_ids)


@dataclass(frozen=True, slots=True)
class Claim:
    """Which batches to fold: the oldest ones, or `alone` one of them; never those in `without`."""

    alone: int | None = None
    without: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Fold:
    """What one committed fold did. `org_ids` is None for more than `ORG_IDS_MAX` organisations; `more`: others wait."""

    batch_ids: list[int]
    events: int
    org_ids: list[UUID] | None
    more: bool


async def fold(database: WriteDatabase, claim: Claim) -> Fold | None:
    """Fold the claimed batches exactly once; None when there is none that nobody else is folding.

    Raises `NotFoldable` when the data are to blame, and what the driver raises when the server is.
    """
    # A crash of the server may undo the last folds: the marks go with the numbers, and the batches are folded again.
    async with database.write(synchronous_commit=False) as session:
        locked = await session.fetch(QUERIES["claim"], BATCHES_MAX, claim.alone, list(claim.without))
        batches = within_limit(locked, EVENTS_MAX)
        if not batches:
            return None
        link_current_span(batch["traceparent"] for batch in batches)
        batch_ids = [batch["batch_id"] for batch in batches]
        try:
            events, org_ids = await _add_to_rollups(session, [batch for batch in batches if batch["stored_count"]])
        except BAD_DATA as error:
            raise NotFoldable(batch_ids, f"{type(error).__name__}: {error}") from error
        stored = sum(batch["stored_count"] for batch in batches)
        if events != stored:
            # Events outside the batch's own time bounds, or rows that are gone: folding would lose them for good.
            raise NotFoldable(batch_ids, f"{stored} events were stored, {events} are found")
        await session.execute(QUERIES["mark_folded"], batch_ids)
    return Fold(batch_ids, events, org_ids, more=len(locked) == BATCHES_MAX or len(batches) < len(locked))


def within_limit(locked: Sequence[Any], events_max: int) -> list[Any]:
    """The first batches with at most so many events together, but at least one."""
    events = 0
    taken: list[Any] = []
    for batch in locked:
        events += batch["stored_count"]
        if taken and events > events_max:
            break
        taken.append(batch)
    return taken


async def _add_to_rollups(session: WriteSession, batches: Sequence[Any]) -> tuple[int, list[UUID] | None]:
    """The number of events added, and whose they are."""
    if not batches:
        return 0, []
    await session.execute(QUERIES["create_delta"])
    await plan_with_values(session)
    await session.execute(
        QUERIES["aggregate"],
        [batch["batch_id"] for batch in batches],
        min(batch["occurred_min"] for batch in batches),
        max(batch["occurred_max"] for batch in batches),
    )
    await take_turn(session, "fold")
    accepted_at = min(batch["first_chunk_at"] for batch in batches)
    for rollup in MODEL.rollups:
        await merge(session, MODEL, rollup, "fold_delta", accepted_at)
    await session.execute(QUERIES["note_freshness"], current_traceparent())
    (totals,) = await session.fetch(QUERIES["delta_totals"], ORG_IDS_MAX + 1)
    return totals["events"], listed(totals["org_ids"])


def listed(org_ids: list[UUID] | None) -> list[UUID] | None:
    """Organisations as `Fold` names them: None for too many."""
    found = org_ids or []
    return found if len(found) <= ORG_IDS_MAX else None
