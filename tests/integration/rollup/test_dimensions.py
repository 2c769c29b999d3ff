"""The dimension fold and the closing of days, against an independent recount."""

import asyncio
import random
from datetime import timedelta

import psycopg
import pytest

from analytics_core.buckets import HOUR, SETTLE
from analytics_core.database import UNREACHABLE, WriteDatabase
from analytics_core.families import FAMILIES
from analytics_core.testing.builders import NOON, ORG_ID
from analytics_rollup.days import close_day
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, NotFoldable, fold
from tests.support.batches import Batch, StoredEvent, in_batches, random_events, recount_family, rollup, store
from tests.support.stack import Database

MIDNIGHT = NOON.replace(hour=0)
DAY = timedelta(days=1)
EVENTS = random_events(random.Random(9), 3_000, NOON - timedelta(hours=30), timedelta(hours=40), orgs=3, models=4)


async def fold_everything(database: WriteDatabase) -> None:
    while await fold(database, Claim()) or await fold_dimensions(database, Claim()):
        pass


def execute(place: Database, statement: str, *parameters: object) -> None:
    with psycopg.connect(place.superuser_dsn) as connection:
        connection.execute(statement.encode(), parameters)


def days_are_open_since(place: Database, day: object) -> None:
    execute(place, "UPDATE analytics.rollup_progress SET daily_through = %s", day)


def assert_families_equal_a_recount(place: Database, events: list[StoredEvent]) -> None:
    for family in FAMILIES.values():
        for table in family.rollups:
            assert rollup(place.owner_dsn, table.table, family) == recount_family(events, family, table.width), table


async def test_every_family_equals_a_recount(place: Database, rollup_database: WriteDatabase) -> None:
    """Absent, empty, quoted and long values; late events of closed days go into hour and day at once."""
    for part in (EVENTS[:2_000], EVENTS[2_000:]):
        store(place.dsn("analytics_ingest"), in_batches(part, 150))
        await fold_everything(rollup_database)

    assert_families_equal_a_recount(place, EVENTS)


async def test_days_are_summed_up_when_they_are_over(place: Database, rollup_database: WriteDatabase) -> None:
    """None before, all of it afterwards, and what comes late is added: the same as had it been there in time."""
    days_are_open_since(place, MIDNIGHT - 2 * DAY)
    store(place.dsn("analytics_ingest"), in_batches(EVENTS[:2_000], 150))
    await fold_everything(rollup_database)
    before = {family.name: rollup(place.owner_dsn, family.daily.table, family) for family in FAMILIES.values()
              if family.daily and family.closed_days}  # fmt: skip
    while await close_day(rollup_database):
        pass
    store(place.dsn("analytics_ingest"), in_batches(EVENTS[2_000:], 150))
    await fold_everything(rollup_database)

    assert before == {"detail": {}, "actor": {}}
    assert_families_equal_a_recount(place, EVENTS)


async def test_a_day_is_closed_once_whatever_runs_beside_it(place: Database, rollup_database: WriteDatabase) -> None:
    """Folds of the very day that is being closed, and two that close it."""
    days_are_open_since(place, MIDNIGHT - 2 * DAY)
    batch_ids = store(place.dsn("analytics_ingest"), in_batches(EVENTS, 60))

    async def close_all() -> None:
        for _ in range(40):
            await close_day(rollup_database)

    async def fold_slowly() -> None:
        for batch_id in batch_ids:
            await fold(rollup_database, Claim(alone=batch_id))
            await fold_dimensions(rollup_database, Claim(alone=batch_id))

    await asyncio.gather(fold_slowly(), fold_slowly(), close_all())
    await fold_everything(rollup_database)
    while await close_day(rollup_database):
        pass

    assert_families_equal_a_recount(place, EVENTS)


async def test_a_day_that_just_ended_stays_open(rollup_database: WriteDatabase) -> None:
    """Most late events of a day come within minutes; closed at once, it would be paid for twice."""
    assert not await close_day(rollup_database)


async def test_a_closed_day_tells_of_its_revisions(place: Database, rollup_database: WriteDatabase) -> None:
    """What came after the day was final is a revision of it, whether the day had been summed up by then or not."""
    days_are_open_since(place, MIDNIGHT)
    final = MIDNIGHT + DAY + SETTLE
    in_time, late = Batch([StoredEvent()], accepted_at=final - timedelta(seconds=1)), Batch([StoredEvent()], final)
    revisions = []
    for batch in (late, late, in_time):
        store(place.dsn("analytics_ingest"), [batch])
        await fold_everything(rollup_database)
        while await close_day(rollup_database):
            pass
        with psycopg.connect(place.owner_dsn) as connection:
            revisions += connection.execute("SELECT revision FROM analytics.usage_actor_daily").fetchall()

    assert revisions == [(1,), (2,), (2,)]


async def test_closing_a_day_takes_no_revision_back(place: Database, rollup_database: WriteDatabase) -> None:
    """While it is open, it is shown with those of its hours together: another number afterwards, a smaller one even,
    would stand for two different sums."""
    days_are_open_since(place, MIDNIGHT)
    final = MIDNIGHT + DAY + SETTLE
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent(NOON + hours * HOUR)], final) for hours in (0, 1, 2)])
    await fold_everything(rollup_database)
    while await close_day(rollup_database):
        pass

    with psycopg.connect(place.owner_dsn) as connection:
        shown = connection.execute("SELECT sum(revision) FROM analytics.usage_actor_hourly").fetchall()
        closed = connection.execute("SELECT revision FROM analytics.usage_actor_daily").fetchall()
    assert shown == closed == [(3,)]


async def test_the_model_fold_goes_first(place: Database, rollup_database: WriteDatabase) -> None:
    """It skips locked batches: a dimension fold that took them before would make them invisible for seconds."""
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent()])])

    assert await fold_dimensions(rollup_database, Claim()) is None
    assert await fold(rollup_database, Claim()) is not None
    done = await fold_dimensions(rollup_database, Claim())

    assert done is not None
    assert (done.events, done.org_ids) == (1, [ORG_ID])
    assert await fold_dimensions(rollup_database, Claim()) is None


async def test_the_watermark_waits_for_the_dimensions(place: Database, rollup_database: WriteDatabase) -> None:
    """By model the numbers are there, by client not yet: each watermark says so."""
    execute(
        place,
        "INSERT INTO analytics.stream_offsets (stream, partition, accepted_through) VALUES ('s', 0, %s)",
        NOON + DAY,
    )
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent()], accepted_at=NOON)])
    await fold(rollup_database, Claim())
    async with rollup_database.read() as session:
        between = await session.fetch_row("SELECT analytics.watermark() AS m, analytics.dimensions_watermark() AS d")
    await fold_dimensions(rollup_database, Claim())
    async with rollup_database.read() as session:
        after = await session.fetch_value("SELECT analytics.dimensions_watermark()")

    assert between is not None
    assert (between["m"], between["d"]) == (NOON + DAY, NOON)
    assert after == NOON + DAY


async def test_a_fold_that_dies_leaves_nothing(place: Database, rollup_database: WriteDatabase) -> None:
    """The server ends the session before the mark: no family has any of it, and the next fold does it all."""
    store(place.dsn("analytics_ingest"), in_batches(EVENTS, 500))
    while await fold(rollup_database, Claim()):
        pass
    execute(
        place,
        "CREATE FUNCTION analytics.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';"
        " CREATE TRIGGER die BEFORE UPDATE ON analytics.ingestion_batches"
        " FOR EACH ROW EXECUTE FUNCTION analytics.die()",
    )
    with pytest.raises(UNREACHABLE):
        await fold_dimensions(rollup_database, Claim())
    after_death = rollup(place.owner_dsn, "usage_actor_hourly", FAMILIES["actor"])
    execute(place, "DROP TRIGGER die ON analytics.ingestion_batches")
    await fold_everything(rollup_database)

    assert after_death == {}
    assert_families_equal_a_recount(place, EVENTS)


async def test_the_longest_texts_fit(place: Database, rollup_database: WriteDatabase) -> None:
    """200 characters of four bytes in every dimension are more than an index entry holds."""
    rng = random.Random(4)
    long = ["".join(chr(rng.randint(0x10000, 0x1FFFF)) for _ in range(200)) for _ in range(5)]
    event = StoredEvent(
        model_id=long[0], client_id=long[1], project=long[2], actor_id=long[3], error_code=long[4][:100], status="error"
    )
    store(place.dsn("analytics_ingest"), [Batch([event])])
    await fold_everything(rollup_database)

    assert_families_equal_a_recount(place, [event])


async def test_missing_events_are_not_papered_over(place: Database, rollup_database: WriteDatabase) -> None:
    """A batch whose rows are not all found stays without dimensions and is reported."""
    (batch_id,) = store(place.dsn("analytics_ingest"), [Batch([StoredEvent(), StoredEvent()])])
    await fold(rollup_database, Claim())
    execute(place, "DELETE FROM analytics.usage_events WHERE event_id = (SELECT min(event_id::text)::uuid FROM"
                   " analytics.usage_events)")  # fmt: skip

    with pytest.raises(NotFoldable, match="2 events were stored") as refused:
        await fold_dimensions(rollup_database, Claim())

    assert refused.value.batch_ids == [batch_id]
