"""Each event once in the tables, across batches, partitions, replicas and restarts, as a dictionary would have it."""

import asyncio
import copy
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core import clock
from analytics_core.database import WriteDatabase
from analytics_core.testing.builders import event_body
from analytics_ingest.batch import Batch
from analytics_ingest.leases import Lease, Leases
from analytics_ingest.persist import persist
from tests.integration.ingest.streaming import STREAM, Tables
from tests.support.dedupe_model import Event, Model, events
from tests.support.stack import Database

NOON = (clock.now() - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)
PARTITIONS = 2
STORED = "SELECT org_id, event_id, occurred_at, input_tokens FROM analytics.usage_events"


class Step(NamedTuple):
    """A batch for each partition that gets one, two at the same moment. `owner` takes the leases first."""

    owner: str
    batches: tuple[Sequence[Event], ...]


batches = st.lists(events, max_size=6)
steps = st.builds(Step, st.sampled_from("ab"), st.tuples(batches, batches))


def batch_of(arrived: Sequence[Event], first_offset: int) -> Batch:
    made = Batch(timedelta(days=400))
    bodies = [
        event_body(
            orgId=str(event.org),
            eventId=str(UUID(int=event.number)),
            occurredAt=(NOON - timedelta(hours=event.hours)).isoformat(),
            inputTokens=event.tokens,
        )
        for event in arrived
    ]
    made.add(bodies, first_offset, NOON)
    return made


async def write(database: WriteDatabase, step: Step) -> None:
    """As the step's owner, a replica that has just started."""
    leases = Leases(database, STREAM, PARTITIONS, step.owner, timedelta(seconds=10))
    owned = [await leases.acquire(partition) for partition in range(PARTITIONS)]
    assert all(isinstance(lease, Lease) for lease in owned)
    writes = [
        persist(database, lease, batch_of(arrived, lease.next_offset))
        for lease, arrived in zip(owned, step.batches, strict=True)
        if arrived and isinstance(lease, Lease)
    ]
    await asyncio.gather(*writes)
    for lease in owned:
        if isinstance(lease, Lease):
            await leases.release(lease)


async def write_all(database: Database, history: Sequence[Step]) -> None:
    async with WriteDatabase.open(database.dsn("analytics_ingest"), application_name="t", pool_size=4) as opened:
        # The first one to come makes the partitions' rows.
        await Leases(opened, STREAM, PARTITIONS, "a", timedelta(seconds=10)).acquire(0)
        for step in history:
            await write(opened, step)


def outcomes(model: Model, step: Step) -> list[Model]:
    """What may come of the step: of two batches at the same moment, either may be the first."""
    found = []
    for order in (step.batches, step.batches[::-1]):
        outcome = copy.deepcopy(model)
        for event in (event for arrived in order for event in arrived):
            outcome.take(event)
        found.append(outcome)
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, min_size=1, max_size=4))
def test_the_tables_hold_what_a_dictionary_would(module_database: Database, history: list[Step]) -> None:
    """Whatever comes on which partition, in which batch, at which moment, through which replica."""
    tables = Tables(module_database)
    tables.empty()
    asyncio.run(write_all(module_database, history))

    possible = [Model()]
    for step in history:
        possible = [outcome for model in possible for outcome in outcomes(model, step)]
    stored = sorted(
        Event(
            row["org_id"],
            row["event_id"].int,
            round((NOON - row["occurred_at"]) / timedelta(hours=1)),
            row["input_tokens"],
        )
        for row in tables.rows(STORED)
    )
    totals = tables.totals()
    assert (stored, totals["conflicts"]) in [(model.events, model.conflicts) for model in possible]
    assert totals["received"] == totals["stored"] + totals["duplicates"]
    assert totals["received"] == sum(len(arrived) for step in history for arrived in step.batches)
