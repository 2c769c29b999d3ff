"""reconcile finds every way in which a bucket can be wrong, and repairs exactly what is."""

import asyncio
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from analytics_core.database import WriteDatabase
from analytics_core.testing.builders import NOON, ORG_ID
from analytics_rollup import drift
from analytics_rollup.fold import Claim, fold
from analytics_rollup.reconcile import DAILY, HOURLY, Range, differences, repair, totals
from tests.support.batches import Batch, StoredEvent, in_batches, random_events, recount, rollup, store
from tests.support.stack import Database

MIDNIGHT = NOON.replace(hour=0)
TWO_DAYS = Range(MIDNIGHT, MIDNIGHT + timedelta(days=2))
EVENTS = random_events(random.Random(1), 1_500, NOON, timedelta(hours=20), orgs=2, models=4)

DAMAGES = {
    "a lost call": "UPDATE analytics.{table} SET invocations = invocations - 1 WHERE {bucket}",
    "a wrong cost": "UPDATE analytics.{table} SET cost_microcents = cost_microcents + 1 WHERE {bucket}",
    "a call in another bin": "UPDATE analytics.{table} SET latency_bins[1] = latency_bins[1] + 1 WHERE {bucket}",
    "a wrong time": "UPDATE analytics.{table} SET first_event_at = first_event_at - interval '1 ms' WHERE {bucket}",
    "a missing bucket": "DELETE FROM analytics.{table} WHERE {bucket}",
    "a bucket of nothing": "INSERT INTO analytics.{table} SELECT org_id, bucket_start, 'ghost', 1, 0, 0, 0,"
    " 0, 0, 0, 0, 0, '{{1}}', '{{1}}', 1, first_event_at, last_event_at FROM analytics.{table} WHERE {bucket}",
}


@pytest.fixture
async def folded(place: Database, rollup_database: WriteDatabase) -> WriteDatabase:
    """A database with folded batches and one that waits."""
    store(place.dsn("analytics_ingest"), in_batches(EVENTS, 100))
    while await fold(rollup_database, Claim()):
        pass
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent()])])
    return rollup_database


def damage(place: Database, statement: str, table: str = HOURLY) -> None:
    """Applied to one bucket, with the owner's rights."""
    one = f"(org_id, bucket_start, model_id) = (SELECT org_id, bucket_start, model_id FROM analytics.{table} LIMIT 1)"
    with psycopg.connect(place.owner_dsn) as connection:
        assert connection.execute(statement.format(table=table, bucket=one).encode()).rowcount == 1


async def test_nothing_differs_after_folding(folded: WriteDatabase) -> None:
    """A batch that waits to be folded is no difference, in the buckets or in the sums."""
    async with folded.read() as session:
        found, sums = await differences(session, TWO_DAYS), await totals(session, TWO_DAYS)

    assert found == []
    assert [row.calls for row in sums] == [len(EVENTS)] * 3
    assert {row.microcents for row in sums} == {sum(event.cost_microcents for event in EVENTS)}


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("table", [HOURLY, DAILY])
async def test_damage_is_found_and_repaired(place: Database, folded: WriteDatabase, table: str, statement: str) -> None:
    """Wrong, missing or invented: the bucket is named, and afterwards everything equals a recount again."""
    damage(place, statement, table)
    async with folded.read() as session:
        found = await differences(session, TWO_DAYS)
    replaced = await repair(folded, TWO_DAYS)

    assert {item.table for item in found} >= {table}
    assert replaced[0] == found[0]
    assert rollup(place.owner_dsn, "usage_hourly") == recount(EVENTS)
    assert rollup(place.owner_dsn, "usage_daily") == recount(EVENTS, days=True)


async def test_a_repair_touches_only_what_differs(place: Database, folded: WriteDatabase) -> None:
    """A repaired bucket is a revision; a whole table of them would hide which number was wrong."""
    before = revisions(place)
    damage(place, DAMAGES["a lost call"], DAILY)
    await repair(folded, TWO_DAYS)
    after = revisions(place)

    assert after == (before[0], before[1] + 1)


def revisions(place: Database) -> tuple[int, int]:
    with psycopg.connect(place.owner_dsn) as connection:
        hourly = connection.execute("SELECT sum(revision) FROM analytics.usage_hourly").fetchone()
        daily = connection.execute("SELECT sum(revision) FROM analytics.usage_daily").fetchone()
    assert hourly is not None
    assert daily is not None
    return hourly[0], daily[0]


async def test_folds_and_a_repair_do_not_count_twice(place: Database, folded: WriteDatabase) -> None:
    """Batches folded while a repair recounts the same buckets end up in them once."""
    more = random_events(random.Random(2), 2_000, NOON, timedelta(hours=20), orgs=2, models=4)
    damage(place, DAMAGES["a wrong cost"])
    store(place.dsn("analytics_ingest"), in_batches(more, 5))

    async def fold_all() -> None:
        while await fold(folded, Claim()):
            pass

    await asyncio.gather(fold_all(), fold_all(), repair(folded, TWO_DAYS))

    assert rollup(place.owner_dsn, "usage_hourly") == recount([*EVENTS, *more, StoredEvent()])
    assert rollup(place.owner_dsn, "usage_daily") == recount([*EVENTS, *more, StoredEvent()], days=True)


async def test_one_organisation_can_be_looked_at_alone(place: Database, folded: WriteDatabase) -> None:
    """Damage of others is not its concern."""
    damage(place, DAMAGES["a wrong cost"])
    async with folded.read() as session:
        found = await differences(session, Range(TWO_DAYS.start, TWO_DAYS.end, ORG_ID))

    assert found == []


async def test_the_sample_finds_drift(place: Database, folded: WriteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that runs by itself looks at hours that are closed."""
    monkeypatch.setattr(drift, "SAMPLE_HOURS_BACK", 1)
    while await fold(folded, Claim()):
        pass
    with psycopg.connect(place.owner_dsn) as connection:
        unknown = await drift.sample(folded)
        connection.execute(
            "INSERT INTO analytics.stream_offsets (stream, partition, accepted_through) VALUES ('s', 0, %s)",
            [NOON + timedelta(hours=5, minutes=20)],
        )
        connection.commit()
        clean = await drift.sample(folded)
        connection.execute(
            "UPDATE analytics.usage_hourly SET invocations = invocations + 1 WHERE bucket_start = %s AND model_id = %s",
            [NOON + timedelta(hours=4), "provider/model-0"],
        )
        connection.commit()
        found = await drift.sample(folded)

    assert unknown is None
    assert clean == []
    assert found
    assert {(item.table, item.bucket_start) for item in found} == {
        (HOURLY, NOON + timedelta(hours=4)),
        (DAILY, MIDNIGHT),
    }


def reconcile(place: Database, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.prefix) / "bin" / "analytics-rollup", "reconcile", *options],
        env={"DATABASE_URL": place.dsn("analytics_rollup"), "RABBITMQ_URL": "amqp://nowhere"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.usefixtures("folded")
def test_the_command_shows_damage_and_repairs_it(place: Database) -> None:
    """What the operator sees, with exit codes for scripts."""
    days = ("--start", f"{MIDNIGHT:%Y-%m-%d}", "--end", f"{MIDNIGHT + timedelta(days=2):%Y-%m-%d}")
    damage(place, DAMAGES["a lost call"])

    shown, repaired, clean = reconcile(place, *days), reconcile(place, *days, "--repair"), reconcile(place, *days)

    assert (shown.returncode, repaired.returncode, clean.returncode) == (1, 0, 0)
    assert "2 buckets differ\n  usage_hourly 2026-03-10T" in shown.stdout
    assert "Replaced 1 buckets." in repaired.stdout
    assert "Every bucket is equal to a recount." in clean.stdout
    assert f"{len(EVENTS):,}" in clean.stdout


def test_the_command_names_an_unreachable_database() -> None:
    """No stack trace, no password."""
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "analytics-rollup", "reconcile"],
        env={"DATABASE_URL": "postgres://u:secret@127.0.0.1:1/d", "RABBITMQ_URL": "amqp://nowhere"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL: cannot reach the database")
    assert "secret" not in done.stderr
