"""reconcile finds every way in which a bucket can be wrong, and repairs exactly what is."""

import asyncio
import json
import random
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import jsonschema
import psycopg
import pytest

from analytics_core.database import WriteDatabase
from analytics_core.families import FAMILIES
from analytics_core.testing.builders import NOON, ORG_ID
from analytics_rollup import drift
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, fold
from analytics_rollup.reconcile import CHECKS, DAILY, Check, Range, differences, repair, totals
from tests.support.batches import Batch, StoredEvent, in_batches, random_events, recount_family, rollup, store
from tests.support.stack import Database

REPORT = json.loads((Path(__file__).parents[3] / "contracts/reports/reconcile.v1.schema.json").read_text())
MIDNIGHT = NOON.replace(hour=0)
TWO_DAYS = Range(MIDNIGHT, MIDNIGHT + timedelta(days=2))
EVENTS = random_events(random.Random(1), 1_500, NOON, timedelta(hours=20), orgs=2, models=4)

# Each to a bucket of its own, the last two leave one more or one less.
DAMAGES = {
    "a lost call": "UPDATE analytics.{table} SET invocations = invocations - 1 WHERE {bucket}",
    "a wrong cost": "UPDATE analytics.{table} SET cost_microcents = cost_microcents + 1 WHERE {bucket}",
    "a call in another bin": "UPDATE analytics.{table} SET latency_bins[1] = latency_bins[1] + 1 WHERE {bucket}",
    "a wrong time": "UPDATE analytics.{table} SET first_event_at = first_event_at - interval '1 ms' WHERE {bucket}",
    "a bucket of nothing": "UPDATE analytics.{table} SET {key} = '{other}' WHERE {bucket}",
    "a missing bucket": "DELETE FROM analytics.{table} WHERE {bucket}",
}
GHOST = {"model_id": "ghost", "series": "00000000-0000-4000-8000-000000000000"}


@pytest.fixture
async def folded(place: Database, rollup_database: WriteDatabase) -> WriteDatabase:
    """A database with folded batches and one that waits."""
    store(place.dsn("analytics_ingest"), in_batches(EVENTS, 100))
    await fold_all(rollup_database)
    store(place.dsn("analytics_ingest"), [Batch([StoredEvent()])])
    return rollup_database


async def fold_all(database: WriteDatabase) -> None:
    while await fold(database, Claim()) or await fold_dimensions(database, Claim()):
        pass


def assert_families_equal_a_recount(place: Database, events: list[StoredEvent]) -> None:
    for family in FAMILIES.values():
        for table in family.rollups:
            assert rollup(place.owner_dsn, table.table, family) == recount_family(events, family, table.width), table


def damage(place: Database, statement: str, check: Check = CHECKS[0], number: int = 0) -> None:
    """Applied to one bucket, with the owner's rights."""
    table, key = check.rollup.table, ", ".join(check.family.key)
    one = f"({key}) = (SELECT {key} FROM analytics.{table} ORDER BY {key} OFFSET {number} LIMIT 1)"
    last = check.family.key[-1]
    with psycopg.connect(place.owner_dsn) as connection:
        text = statement.format(table=table, bucket=one, key=last, other=GHOST[last])
        assert connection.execute(text.encode()).rowcount == 1


async def test_nothing_differs_after_folding(folded: WriteDatabase) -> None:
    """A batch that waits to be folded is no difference, in the buckets or in the sums."""
    async with folded.read() as session:
        found, sums = await differences(session, TWO_DAYS), await totals(session, TWO_DAYS)

    assert found == []
    for name in {row.table_name for row in sums}:
        rows = [row for row in sums if row.table_name == name]
        assert sum(row.calls for row in rows) == len(EVENTS)
        assert sum(row.microcents for row in rows) == sum(event.cost_microcents for event in EVENTS)
        assert {row.org_id for row in rows} == {event.org_id for event in EVENTS}
    assert len({row.table_name for row in sums}) == 6


@pytest.mark.parametrize("check", CHECKS, ids=[check.rollup.table for check in CHECKS])
async def test_damage_is_found_and_repaired(place: Database, folded: WriteDatabase, check: Check) -> None:
    """Wrong, missing or invented: the bucket is named, and afterwards everything equals a recount again."""
    for number, statement in enumerate(DAMAGES.values()):
        damage(place, statement, check, number)
    async with folded.read() as session:
        found = [item for item in await differences(session, TWO_DAYS) if item.table == check.rollup.table]
    replaced = [item for day in TWO_DAYS.days() for item in await repair(folded, day)]

    # The bucket under another name is missing under its own.
    assert len(found) == len(DAMAGES) + 1
    assert {item.key for item in found} <= {item.key for item in replaced}
    assert_families_equal_a_recount(place, EVENTS)


async def test_a_repair_touches_only_what_differs(place: Database, folded: WriteDatabase) -> None:
    """A repaired bucket is a revision; a whole table of them would hide which number was wrong."""
    before = revisions(place)
    damage(place, DAMAGES["a lost call"], CHECKS[1])
    for day in TWO_DAYS.days():
        await repair(folded, day)
    after = revisions(place)

    assert after == (before[0], before[1] + 1)


async def test_a_day_never_stays_as_it_is_when_one_of_its_hours_changes(place: Database, folded: WriteDatabase) -> None:
    """Who holds a day's hours looks at the day alone: late events and repairs, even of an hour whose day was right."""
    for number, statement in enumerate(DAMAGES.values()):
        before = hours_by_day(place), days(place)
        damage(place, statement, number=number * 7)
        damaged = hours_by_day(place)
        for day in TWO_DAYS.days():
            await repair(folded, day)
        changed = {day for day in damaged | before[0] if damaged.get(day) != hours_by_day(place).get(day)}
        assert changed
        assert all(days(place)[day] != before[1][day] for day in changed)

    hours, stored = hours_by_day(place), days(place)
    for event in EVENTS[:5]:
        store(place.dsn("analytics_ingest"), [Batch([event])])
        await fold_all(folded)
        changed = {day for day, content in hours_by_day(place).items() if hours.get(day) != content}
        assert changed
        assert all(days(place)[day] != stored.get(day) for day in changed)


def hours_by_day(place: Database) -> dict[tuple[UUID, datetime], str]:
    """The hours of each organisation and day, as a text."""
    return _contents(place, "usage_hourly")


def days(place: Database) -> dict[tuple[UUID, datetime], str]:
    """What a day's rows say."""
    return _contents(place, "usage_daily")


def _contents(place: Database, table: str) -> dict[tuple[UUID, datetime], str]:
    columns = "model_id, invocations, error_count, cost_microcents, input_tokens, revision, revised_at"
    with psycopg.connect(place.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT org_id, date_bin('1 day', bucket_start, 'epoch'),"
            f" string_agg(row(bucket_start, {columns})::text, ';' ORDER BY bucket_start, model_id)"
            f" FROM analytics.{table} GROUP BY 1, 2".encode()
        ).fetchall()
    return {(org_id, day): content for org_id, day, content in rows}


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

    async def repair_all() -> None:
        for day in TWO_DAYS.days():
            await repair(folded, day)

    await asyncio.gather(fold_all(folded), fold_all(folded), repair_all())
    await fold_all(folded)

    assert_families_equal_a_recount(place, [*EVENTS, *more, StoredEvent()])


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
        ("usage_hourly", NOON + timedelta(hours=4)),
        (DAILY, MIDNIGHT),
    }


def command(place: Database, *arguments: str, dsn: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.prefix) / "bin" / "analytics-rollup", *arguments],
        env={"DATABASE_URL": dsn or place.dsn("analytics_rollup"), "RABBITMQ_URL": "amqp://nowhere"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


DAYS = ("--from", f"{MIDNIGHT:%Y-%m-%d}", "--to", f"{MIDNIGHT + timedelta(days=2):%Y-%m-%d}")


@pytest.mark.usefixtures("folded")
def test_the_command_shows_damage_and_repairs_it(place: Database) -> None:
    """What the operator sees, with exit codes for scripts."""
    damage(place, DAMAGES["a lost call"])

    shown, repaired = command(place, "reconcile", *DAYS), command(place, "reconcile", *DAYS, "--repair")
    clean = command(place, "reconcile", *DAYS)
    numbers = re.search(
        r"has (\d+) calls, ([\d,]+) micro-cents; its events have (\d+) calls, \2 micro-cents", shown.stdout
    )

    assert numbers
    assert int(numbers[1]) == int(numbers[3]) - 1
    assert (shown.returncode, repaired.returncode, clean.returncode) == (1, 0, 0)
    assert "2 buckets differ\n  usage_hourly 2026-03-10T" in shown.stdout
    assert "Replaced 1 buckets." in repaired.stdout
    assert "Every bucket is equal to a recount." in clean.stdout
    assert f"{len(EVENTS):,}" in clean.stdout


@pytest.mark.usefixtures("folded")
def test_the_report_can_be_read_by_a_program(place: Database) -> None:
    """What differs, by table and dimensions, from what to what, and what each organisation's tables add up to."""
    damage(place, DAMAGES["a wrong cost"], CHECKS[-1])
    shown, rebuilt = command(place, "reconcile", *DAYS, "--json"), command(place, "rebuild", *DAYS, "--json")
    report = json.loads(shown.stdout)
    (difference,) = report["differences"]
    tables = [organisation["tables"] for organisation in report["organisations"]]

    assert (shown.returncode, report["differing"], report["replaced"]) == (1, 1, 0)
    assert difference["table"] == "usage_actor_daily"
    assert difference["dimensions"].keys() == {"actor_id", "model_id", "status", "error_code"}
    assert difference["stored"]["invocations"] == difference["recounted"]["invocations"]
    assert difference["stored"]["costMicrocents"] != difference["recounted"]["costMicrocents"]
    for printed in (shown, rebuilt):
        jsonschema.Draft202012Validator(REPORT).validate(json.loads(printed.stdout))
    assert sum(table["usage_events"]["invocations"] for table in tables) == len(EVENTS)
    assert all(table["usage_events"] == table["usage_detail_hourly"] == table["usage_hourly"] for table in tables)
    assert (rebuilt.returncode, json.loads(rebuilt.stdout)["replaced"]) == (0, 1)
    assert command(place, "reconcile", *DAYS).returncode == 0


def test_the_command_says_that_there_is_nothing_to_compare(place: Database) -> None:
    """An organisation that is mistyped must not look like one whose numbers are right."""
    nobody = command(place, "reconcile", *DAYS, "--org", "00000000-0000-4000-8000-000000000007")

    assert (nobody.returncode, nobody.stdout.count("\n")) == (0, 2)
    assert nobody.stdout.endswith("\nNothing to compare: neither events nor rollups.\n")


def test_a_range_that_ends_before_it_starts_is_wrong_usage(place: Database) -> None:
    """As every other wrong argument is."""
    refused = command(place, "reconcile", "--from", "2026-03-12", "--to", "2026-03-10")

    assert (refused.returncode, refused.stderr) == (2, "--from: must be before --to\n")


@pytest.mark.usefixtures("folded")
def test_nothing_is_compared_with_what_retention_dropped(place: Database) -> None:
    """The repair of a rollup whose events are gone would remove it."""
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute("INSERT INTO analytics.retained VALUES ('usage_events', %s)", [MIDNIGHT + timedelta(days=1)])
    refused = command(place, "rebuild", *DAYS)

    assert refused.returncode == 1
    assert "dropped events or rollups before 2026-03-11" in refused.stderr
    assert_families_equal_a_recount(place, EVENTS)


def test_what_the_audit_trail_forgot_is_no_reason_not_to_compare(place: Database) -> None:
    """It is kept for another time, and holds no numbers."""
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute("INSERT INTO analytics.retained VALUES ('audit_log', %s)", [MIDNIGHT + timedelta(days=9)])
    store(place.dsn("analytics_ingest"), in_batches(EVENTS[:1], 1))

    assert "dropped" not in command(place, "reconcile", *DAYS).stderr


@pytest.mark.parametrize(
    ("part", "wrong", "problem"),
    [
        (r":\d+/", ":1/", "cannot reach the database: ConnectionFailed"),
        (r":[^:]*@", ":secret@", "the database refuses: InvalidPasswordError"),
        (r"/[^/]*$", "/nowhere", "the database refuses: InvalidCatalogNameError"),
        (r"/[^/]*$", "/postgres", "the database refuses: UndefinedTableError"),
    ],
)
def test_the_command_names_a_wrong_database(place: Database, part: str, wrong: str, problem: str) -> None:
    """No stack trace, no password."""
    dsn = re.sub(part, wrong, place.dsn("analytics_rollup"))
    done = command(place, "reconcile", dsn=dsn)

    assert done.returncode == 1
    assert done.stderr.startswith(f"DATABASE_URL: {problem}: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
