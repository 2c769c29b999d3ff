"""The fold against an independent recount: nothing twice, nothing lost, late events where they belong."""

import asyncio
import random
import re
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from analytics_core.buckets import SETTLE
from analytics_core.database import UNREACHABLE, WriteDatabase
from analytics_core.testing.builders import NOON, ORG_ID, OTHER_ORG_ID
from analytics_rollup.fold import QUERIES, Claim, Fold, NotFoldable, fold
from analytics_rollup.merge import plan_with_values
from tests.support.batches import Batch, StoredEvent, in_batches, random_events, recount, rollup, store
from tests.support.stack import Database

HOUR = timedelta(hours=1)


async def fold_everything(database: WriteDatabase) -> list[Fold]:
    folds = []
    while done := await fold(database, Claim()):
        folds.append(done)
    return folds


def revisions(place: Database, table: str) -> dict[datetime, int]:
    with psycopg.connect(place.owner_dsn, options="-c timezone=UTC") as connection:
        return dict(connection.execute(f"SELECT bucket_start, revision FROM analytics.{table}".encode()).fetchall())


def execute(place: Database, statement: str, *parameters: object) -> None:
    with psycopg.connect(place.superuser_dsn) as connection:
        connection.execute(statement.encode(), parameters)


@pytest.mark.parametrize("seed", range(5))
async def test_both_rollups_equal_a_recount(place: Database, rollup_database: WriteDatabase, seed: int) -> None:
    """Over hour and day edges, many models, batches in any order of time, small folds and large ones."""
    rng = random.Random(seed)
    events = random_events(rng, 4_000, NOON - timedelta(hours=30), timedelta(hours=40), models=rng.choice([1, 60]))
    batches = in_batches(events, rng.choice([7, 150, 4_000]))
    for part in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
        store(place.dsn("analytics_ingest"), part)
        await fold_everything(rollup_database)

    assert rollup(place.owner_dsn, "usage_hourly") == recount(events)
    assert rollup(place.owner_dsn, "usage_daily") == recount(events, days=True)


async def test_a_hot_bucket_stays_exact_and_small(place: Database, rollup_database: WriteDatabase) -> None:
    """Histograms grow by appending; they are merged before they are three times as long as they need to be."""
    rng = random.Random(7)
    events = [StoredEvent(latency_ms=int(rng.lognormvariate(6.7, 0.8))) for _ in range(3_000)]
    for batch in in_batches(events, 30):
        store(place.dsn("analytics_ingest"), [batch])
        await fold_everything(rollup_database)

    assert rollup(place.owner_dsn, "usage_hourly") == recount(events)
    with psycopg.connect(place.owner_dsn) as connection:
        row = connection.execute("SELECT cardinality(latency_bins) FROM analytics.usage_hourly").fetchone()
    assert row is not None
    assert row[0] <= 2 * len({*next(iter(recount(events).values())).latencies}) + 32


async def test_a_batch_is_folded_once(place: Database, rollup_database: WriteDatabase) -> None:
    """A second look at the same batches finds nothing to do."""
    batch_ids = store(place.dsn("analytics_ingest"), in_batches([StoredEvent()] * 10, 5))
    (first,) = await fold_everything(rollup_database)
    again = await fold(rollup_database, Claim())

    assert (first.batch_ids, first.events, first.org_ids) == (batch_ids, 10, [ORG_ID])
    assert again is None


async def test_a_batch_without_stored_events_is_marked(place: Database, rollup_database: WriteDatabase) -> None:
    """It holds back the watermark until it is."""
    store(place.dsn("analytics_ingest"), [Batch([], rejected=3)])
    (done,) = await fold_everything(rollup_database)

    assert (done.events, done.org_ids) == (0, [])
    assert await fold(rollup_database, Claim()) is None


async def test_a_late_event_lands_in_its_own_bucket_and_revises_it(
    place: Database, rollup_database: WriteDatabase
) -> None:
    """Readers who saw the bucket finalized can see that it changed; other buckets say nothing changed."""
    on_time = [StoredEvent(NOON + timedelta(minutes=5)), StoredEvent(NOON + timedelta(hours=3))]
    late = StoredEvent(NOON + timedelta(minutes=10))
    store(place.dsn("analytics_ingest"), in_batches(on_time, 1))
    await fold_everything(rollup_database)
    store(place.dsn("analytics_ingest"), [Batch([late], accepted_at=NOON + HOUR + SETTLE)])
    await fold_everything(rollup_database)

    assert rollup(place.owner_dsn, "usage_hourly") == recount([*on_time, late])
    assert revisions(place, "usage_hourly") == {NOON: 1, NOON + timedelta(hours=3): 0}
    assert revisions(place, "usage_daily") == {NOON.replace(hour=0): 0}


async def test_an_open_bucket_is_not_revised(place: Database, rollup_database: WriteDatabase) -> None:
    """Until it has settled a bucket is expected to change: nobody was told that it is final."""
    just_before = NOON + HOUR + SETTLE - timedelta(microseconds=1)
    for _ in range(2):
        store(place.dsn("analytics_ingest"), [Batch([StoredEvent()], accepted_at=just_before)])
        await fold_everything(rollup_database)

    assert revisions(place, "usage_hourly") == {NOON: 0}


async def test_a_model_that_appears_late_is_a_revision(place: Database, rollup_database: WriteDatabase) -> None:
    """A row that was not there when the bucket was final changes its sum just the same; the day is another bucket."""
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent()], accepted_at=NOON + timedelta(days=2))])
    await fold_everything(rollup_database)

    assert revisions(place, "usage_hourly") == {NOON: 1}
    assert revisions(place, "usage_daily") == {NOON.replace(hour=0): 1}


async def test_workers_share_two_thousand_batches(place: Database, rollup_database: WriteDatabase) -> None:
    """Two workers at once meet in every hot bucket: no deadlock that is not retried, no event twice or not at all."""
    events = random_events(random.Random(11), 10_000, NOON, timedelta(hours=2), orgs=3, models=5)
    store(place.dsn("analytics_ingest"), in_batches(events, 5))

    folds = await asyncio.gather(*(fold_everything(rollup_database) for _ in range(2)))

    assert all(folds), "one worker did everything"
    assert sum(len(done.batch_ids) for worker in folds for done in worker) == 2_000
    assert rollup(place.owner_dsn, "usage_hourly") == recount(events)
    assert rollup(place.owner_dsn, "usage_daily") == recount(events, days=True)


async def test_a_fold_that_dies_leaves_nothing(place: Database, rollup_database: WriteDatabase) -> None:
    """The server ends the session between the numbers and the mark: neither is there, and the next fold does both."""
    events = random_events(random.Random(3), 500, NOON, HOUR)
    store(place.dsn("analytics_ingest"), in_batches(events, 50))
    execute(
        place,
        "CREATE FUNCTION analytics.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';"
        " CREATE TRIGGER die BEFORE UPDATE ON analytics.ingestion_batches"
        " FOR EACH ROW EXECUTE FUNCTION analytics.die()",
    )
    with pytest.raises(UNREACHABLE):
        await fold(rollup_database, Claim())
    after_death = rollup(place.owner_dsn, "usage_hourly")
    execute(place, "DROP TRIGGER die ON analytics.ingestion_batches")
    await fold_everything(rollup_database)

    assert after_death == {}
    assert rollup(place.owner_dsn, "usage_hourly") == recount(events)


async def test_missing_events_are_not_papered_over(place: Database, rollup_database: WriteDatabase) -> None:
    """Marking a batch whose rows are not all found would lose them for good; it stays unfolded and is reported."""
    (batch_id,) = store(place.dsn("analytics_ingest"), [Batch([StoredEvent(), StoredEvent(NOON + HOUR)])])
    execute(place, "UPDATE analytics.ingestion_batches SET occurred_max = occurred_min")

    with pytest.raises(NotFoldable, match="2 events were stored, 1 are found") as refused:
        await fold(rollup_database, Claim())

    assert refused.value.batch_ids == [batch_id]
    assert rollup(place.owner_dsn, "usage_hourly") == {}


async def test_amounts_beyond_the_columns_are_refused_whole(place: Database, rollup_database: WriteDatabase) -> None:
    """A sum that does not fit stops its batch, it does not wrap around."""
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent(cost_microcents=2**63 - 1)] * 2)])

    with pytest.raises(NotFoldable, match="bigint out of range"):
        await fold(rollup_database, Claim())


async def test_a_claim_can_ask_for_one_batch_or_leave_some_out(place: Database, rollup_database: WriteDatabase) -> None:
    """How a suspect is tried alone while the others go on."""
    first, second, third = store(place.dsn("analytics_ingest"), [Batch([StoredEvent()])] * 3)

    alone = await fold(rollup_database, Claim(alone=second))
    others = await fold(rollup_database, Claim(without=frozenset({third})))

    assert alone is not None
    assert others is not None
    assert (alone.batch_ids, others.batch_ids) == ([second], [first])


async def test_many_organisations_are_not_listed(place: Database, rollup_database: WriteDatabase) -> None:
    """The message names up to 100 of them."""
    orgs = [StoredEvent(org_id=UUID(int=number)) for number in range(101)]
    store(place.dsn("analytics_ingest"), [Batch(orgs)])
    (done,) = await fold_everything(rollup_database)

    assert done.org_ids is None


async def test_freshness_keeps_the_newest_event(place: Database, rollup_database: WriteDatabase) -> None:
    """A late event moves last_rollup_at, not last_event_at."""
    newest, older = StoredEvent(NOON + HOUR), StoredEvent(NOON)
    other = StoredEvent(NOON, org_id=OTHER_ORG_ID)
    for event in (newest, older, other):
        store(place.dsn("analytics_ingest"), [Batch([event])])
        await fold_everything(rollup_database)
    with psycopg.connect(place.owner_dsn, options="-c timezone=UTC") as connection:
        rows = connection.execute(
            "SELECT org_id, model_id, last_event_at, last_rollup_at > now() - interval '1 minute'"
            " FROM analytics.freshness_status ORDER BY org_id"
        ).fetchall()

    assert rows == [(ORG_ID, "gpt-4o", NOON + HOUR, True), (OTHER_ORG_ID, "gpt-4o", NOON, True)]


async def test_only_the_days_of_the_batches_are_looked_at(place: Database, rollup_database: WriteDatabase) -> None:
    """A fold costs what its own events cost, however many days the table holds and however old its statistics are."""
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent(NOON - timedelta(days=day))]) for day in range(30)])
    async with rollup_database.write() as session:
        await session.execute(QUERIES["create_delta"])
        await plan_with_values(session)
        lines = await session.fetch(f"EXPLAIN {QUERIES['aggregate']}", [1, 2], NOON - timedelta(days=1), NOON)

    scans = [line[0] for line in lines if "Scan" in line[0] and "_chunk" in line[0]]

    assert len({*re.findall(r" on (_hyper\w+_chunk)", str(scans))}) == 2
    assert all(re.search(r"Index Scan using _hyper\w+_usage_events_batch on", scan) for scan in scans), scans
