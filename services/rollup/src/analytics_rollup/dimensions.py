"""The dimension fold: adds batches that the model fold is done with to the families detail, actor and quarter.

It works in larger groups than the model fold, because its keys are many: the more events a key gets at once, the less
an event costs. Exactly once by a marker of its own, `dimensions_folded_at`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from analytics_core.database import BAD_DATA, WriteDatabase, WriteSession
from analytics_core.families import ACTOR, DETAIL, QUARTERS, Family
from analytics_core.messages import ORG_IDS_MAX
from analytics_core.sql import load_queries
from analytics_core.telemetry.traces import link_current_span
from analytics_rollup.fold import Claim, Fold, NotFoldable, listed, within_limit
from analytics_rollup.limits import DIMENSION_BATCHES_MAX, DIMENSION_EVENTS_MAX
from analytics_rollup.merge import merge, plan_with_values, take_turn

QUERIES = load_queries("analytics_rollup", "dimensions")


async def fold_dimensions(database: WriteDatabase, claim: Claim) -> Fold | None:
    """Fold the claimed batches exactly once; None when there is none that nobody else is folding.

    Raises `NotFoldable` when the data are to blame, and what the driver raises when the server is.
    """
    async with database.write(synchronous_commit=False) as session:
        locked = await session.fetch(QUERIES["claim_folded"], DIMENSION_BATCHES_MAX, claim.alone, list(claim.without))
        batches = within_limit(locked, DIMENSION_EVENTS_MAX)
        if not batches:
            return None
        link_current_span(batch["traceparent"] for batch in batches)
        batch_ids = [batch["batch_id"] for batch in batches]
        stored = sum(batch["stored_count"] for batch in batches)
        try:
            found, org_ids = await _add_to_families(session, [batch for batch in batches if batch["stored_count"]])
        except BAD_DATA as error:
            raise NotFoldable(batch_ids, f"{type(error).__name__}: {error}") from error
        if found != (stored, stored):
            raise NotFoldable(batch_ids, f"{stored} events were stored, {found} are found by detail and actor")
        await session.execute(QUERIES["mark_dimensions_folded"], batch_ids)
    more = len(locked) == DIMENSION_BATCHES_MAX or len(batches) < len(locked)
    return Fold(batch_ids, stored, org_ids, more=more)


async def _add_to_families(session: WriteSession, batches: Sequence[Any]) -> tuple[tuple[int, int], list[UUID] | None]:
    """The number of events that were added to the families detail and actor, and whose they are."""
    if not batches:
        return (0, 0), []
    await session.execute(QUERIES["take_time"])
    for create in (QUERIES["create_detail_delta"], QUERIES["create_actor_delta"], QUERIES["create_quarter_delta"]):
        await session.execute(create)
    await plan_with_values(session)
    batch_ids = [batch["batch_id"] for batch in batches]
    oldest = min(batch["occurred_min"] for batch in batches)
    newest = max(batch["occurred_max"] for batch in batches)
    for aggregate in (QUERIES["aggregate_detail"], QUERIES["aggregate_actors"]):
        await session.execute(aggregate, batch_ids, oldest, newest)
    await session.execute(QUERIES["sum_quarters"])
    await take_turn(session, "fold_dimensions")
    closed = {row["family"]: row["daily_through"] for row in await session.fetch(QUERIES["daily_through"])}
    accepted_at = min(batch["first_chunk_at"] for batch in batches)
    await merge(session, QUARTERS, QUARTERS.fine, "quarter_delta", accepted_at)
    await _merge_family(session, DETAIL, "detail_delta", accepted_at, oldest, closed)
    await _merge_family(session, ACTOR, "actor_delta", accepted_at, oldest, closed)
    (found,) = await session.fetch(QUERIES["found_events"], ORG_IDS_MAX + 1)
    return (found["detail"], found["actor"]), listed(found["org_ids"])


async def _merge_family(
    session: WriteSession,
    family: Family,
    delta: str,
    accepted_at: datetime,
    oldest: datetime,
    closed: dict[str, datetime],
) -> None:
    """The hours always, the days as far as they are closed: an open one is summed up when it is over."""
    await merge(session, family, family.fine, delta, accepted_at)
    through = closed[family.name]
    if family.daily is not None and oldest < through:
        await merge(session, family, family.daily, delta, accepted_at, before=through)
