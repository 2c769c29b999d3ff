"""Retention drops whole chunks that are old, and nothing that anybody still needs."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from analytics_core.database import WriteDatabase
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, fold
from analytics_rollup.retention import drop_old_chunks
from tests.support.batches import Batch, StoredEvent, store
from tests.support.stack import Database

NOW = datetime.now(UTC).replace(microsecond=0)
OLD, NEW = NOW - timedelta(days=500), NOW - timedelta(days=300)
AGE = timedelta(days=402)


async def fold_all(database: WriteDatabase) -> None:
    while await fold(database, Claim()) or await fold_dimensions(database, Claim()):
        pass


def times(place: Database, table: str, column: str) -> list[datetime]:
    with psycopg.connect(place.owner_dsn) as connection:
        rows = connection.execute(f"SELECT {column} FROM analytics.{table} ORDER BY 1".encode()).fetchall()
    return [time for (time,) in rows]


async def test_old_chunks_go_and_younger_ones_stay(place: Database, rollup_database: WriteDatabase) -> None:
    """Each table by its own age; where it stands is written down."""
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent(OLD), StoredEvent(OLD - timedelta(days=1))])])
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent(NEW)])])
    await fold_all(rollup_database)
    dropped = await drop_old_chunks(rollup_database, {"usage_events": AGE, "usage_actor_hourly": timedelta(days=450)})

    assert dropped >= 3
    assert times(place, "usage_events", "occurred_at") == [NEW]
    assert len(times(place, "usage_actor_hourly", "bucket_start")) == 1
    assert len(times(place, "usage_hourly", "bucket_start")) == 3
    with psycopg.connect(place.owner_dsn) as connection:
        retained: dict[str, datetime] = dict(
            connection.execute("SELECT table_name, dropped_before FROM analytics.retained").fetchall()
        )
    assert retained.keys() == {"usage_events", "usage_actor_hourly"}
    assert OLD < retained["usage_events"] <= OLD + timedelta(days=1)


async def test_events_that_are_not_folded_stay(place: Database, rollup_database: WriteDatabase) -> None:
    """However old: a fold that does not find them would stop for good."""
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent(OLD)])])
    await fold(rollup_database, Claim())
    kept = await drop_old_chunks(rollup_database, {"usage_events": AGE})
    await fold_dimensions(rollup_database, Claim())
    dropped = await drop_old_chunks(rollup_database, {"usage_events": AGE})

    assert (kept, dropped) == (0, 1)


async def test_a_chunk_in_use_is_left_for_the_next_time(place: Database, rollup_database: WriteDatabase) -> None:
    """It gives way within a moment: whoever came after it would wait as long as it does."""
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent(OLD)])])
    await fold_all(rollup_database)
    with psycopg.connect(place.dsn("analytics_ingest")) as reader:
        reader.execute("SELECT count(*) FROM analytics.usage_events")
        kept = await drop_old_chunks(rollup_database, {"usage_events": AGE})
        store(place.dsn("analytics_ingest"), [Batch([StoredEvent(NEW)])])
    dropped = await drop_old_chunks(rollup_database, {"usage_events": AGE})

    assert (kept, dropped) == (0, 1)


@pytest.mark.parametrize(
    ("table", "age", "said"),
    [
        ("audit_log", timedelta(days=29), "too short"),
        ("ingestion_batches", AGE, "no retention"),
        ("usage_events", timedelta(hours=1), "too short"),
    ],
)
def test_the_right_to_drop_is_narrow(place: Database, table: str, age: timedelta, said: str) -> None:
    """What the service may do with the owner's rights is no more than its task."""
    with psycopg.connect(place.dsn("analytics_rollup")) as connection, pytest.raises(psycopg.Error, match=said):
        connection.execute("SELECT analytics.drop_oldest_chunk(%s, %s)", [table, age])


def test_nobody_else_may(place: Database) -> None:
    """Not even ingest, whose table it is."""
    with (
        psycopg.connect(place.dsn("analytics_ingest")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT analytics.drop_oldest_chunk('usage_events', '500 days')")
