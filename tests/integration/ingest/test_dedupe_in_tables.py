"""Each event once in the tables, across batches, partitions, replicas and restarts, as a dictionary would have it."""

import asyncio
import copy
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core import clock
from analytics_core.database import WriteDatabase
from analytics_core.testing.builders import event_body
from analytics_ingest.batch import Batch
from analytics_ingest.leases import Lease, Leases
from analytics_ingest.persist import Receipt, persist
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, fold
from analytics_rollup.limits import LATE_MARGIN
from analytics_rollup.retention import drop_old_chunks
from tests.integration.ingest.streaming import STREAM, Tables
from tests.support.dedupe_model import Event, Model, events
from tests.support.stack import Database

NOON = (clock.now() - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)
PARTITIONS = 2
RETENTION = timedelta(days=400)
STORED = "SELECT org_id, event_id, occurred_at, input_tokens FROM analytics.usage_events"


class Step(NamedTuple):
    """A batch for each partition that gets one, two at the same moment, each by a process that has just started."""

    owners: tuple[str, str]
    batches: tuple[Sequence[Event], ...]


batches = st.lists(events, max_size=6)
steps = st.builds(Step, st.tuples(st.sampled_from("ab"), st.sampled_from("ab")), st.tuples(batches, batches))


def batch_of(arrived: Sequence[Event], first_offset: int) -> Batch:
    made = Batch(RETENTION)
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
    """One process or two, each with a partition."""
    processes = [Leases(database, STREAM, PARTITIONS, owner, timedelta(seconds=10)) for owner in step.owners]
    leases = [await owned(process, partition) for partition, process in enumerate(processes)]
    writes = [
        persist(database, lease, batch_of(arrived, lease.next_offset))
        for lease, arrived in zip(leases, step.batches, strict=True)
        if arrived
    ]
    await asyncio.gather(*writes)
    for process, lease in zip(processes, leases, strict=True):
        await process.release(lease)


async def owned(process: Leases, partition: int) -> Lease:
    lease = await process.acquire(partition)
    assert isinstance(lease, Lease)
    return lease


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


async def test_an_event_that_comes_again_is_known_as_long_as_it_is_accepted(module_database: Database) -> None:
    """At the far end of retention, after what is older was dropped: as it was, changed, or a day nearer."""
    tables = Tables(module_database)
    tables.empty()
    now = clock.now()
    edge = now - RETENTION
    first = {"eventId": str(UUID(int=1)), "occurredAt": edge.isoformat()}
    older = {"eventId": str(UUID(int=2)), "occurredAt": (edge - timedelta(days=9)).isoformat()}
    ingest_dsn, rollup_dsn = module_database.dsn("analytics_ingest"), module_database.dsn("analytics_rollup")
    async with (
        WriteDatabase.open(ingest_dsn, application_name="t", pool_size=2) as ingest,
        WriteDatabase.open(rollup_dsn, application_name="t", pool_size=2) as rollup,
    ):
        leases = Leases(ingest, STREAM, 1, "a", timedelta(seconds=60))
        await leases.acquire(0)
        lease = await owned(leases, 0)

        async def arrive(accepted_at: datetime, *events: dict[str, Any]) -> Receipt:
            batch = Batch(RETENTION)
            batch.add([event_body(**event) for event in events], lease.next_offset, accepted_at)
            return await persist(ingest, lease, batch)

        assert (await arrive(now - timedelta(days=9), older)).stored == 1
        assert (await arrive(now, first)).stored == 1
        while await fold(rollup, Claim()) or await fold_dimensions(rollup, Claim()):
            pass
        assert await drop_old_chunks(rollup, {"usage_events": RETENTION + LATE_MARGIN}) == 1

        a_day_nearer = first | {"occurredAt": (edge + timedelta(days=1)).isoformat()}
        too_old = first | {"occurredAt": (edge - timedelta(microseconds=1)).isoformat()}
        again = await arrive(now, first, first | {"inputTokens": 7}, a_day_nearer, too_old)

    assert (again.stored, again.duplicates, again.conflicts, again.rejected) == (0, 3, 2, 1)
    assert [row["occurred_at"] for row in tables.rows(STORED)] == [edge]
