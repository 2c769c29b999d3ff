"""Erasure removes what it has to, leaves everything else as it was, and goes on where it was interrupted."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from analytics_core.database import WriteDatabase
from analytics_core.families import FAMILIES
from analytics_core.testing.builders import NOON
from analytics_rollup import erasure
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.erasure import Wanted, count_events, erase
from analytics_rollup.fold import Claim, fold
from analytics_rollup.reconcile import Range, differences
from tests.support.batches import StoredEvent, in_batches, random_events, recount_family, rollup, store
from tests.support.stack import Database

MIDNIGHT = NOON.replace(hour=0)
EVENTS = random_events(random.Random(3), 1_500, NOON, timedelta(hours=30), orgs=2, models=3)
ORG = EVENTS[0].org_id


async def fold_all(database: WriteDatabase) -> None:
    while await fold(database, Claim()) or await fold_dimensions(database, Claim()):
        pass


def others(actor_id: str | None) -> list[StoredEvent]:
    return [event for event in EVENTS if event.org_id != ORG or (actor_id and event.actor_id != actor_id)]


async def assert_only_these_are_left(place: Database, database: WriteDatabase, events: Sequence[StoredEvent]) -> None:
    for family in FAMILIES.values():
        for table in family.rollups:
            assert rollup(place.owner_dsn, table.table, family) == recount_family(events, family, table.width), table
    async with database.read() as session:
        assert await differences(session, Range(MIDNIGHT, MIDNIGHT + timedelta(days=3))) == []
        uneven = await session.fetch(
            "SELECT FROM analytics.ingestion_batches LEFT JOIN analytics.erased_events USING (batch_id)"
            " WHERE stored_count - coalesce(erased_count, 0) <> (SELECT count(*) FROM analytics.usage_events"
            " WHERE usage_events.batch_id = ingestion_batches.batch_id)"
        )
    assert uneven == []


@pytest.mark.parametrize("actor_id", [None, "a,b"])
async def test_everything_else_stays_as_it_was(
    place: Database, rollup_database: WriteDatabase, actor_id: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small steps; batches that wait to be folded, by model or by dimension, are folded without what is gone."""
    monkeypatch.setattr(erasure, "ERASED_AT_ONCE", 100)
    store(place.dsn("analytics_ingest"), in_batches(EVENTS[:700], 100))
    await fold_all(rollup_database)
    store(place.dsn("analytics_ingest"), in_batches(EVENTS[700:1_100], 100))
    await fold(rollup_database, Claim())
    store(place.dsn("analytics_ingest"), in_batches(EVENTS[1_100:], 100))
    wanted = Wanted(ORG, actor_id, "somebody")
    expected = await count_events(rollup_database, wanted)
    erased = await erase(rollup_database, wanted, lambda _: None)
    await fold_all(rollup_database)

    assert erased == expected == len(EVENTS) - len(others(actor_id))
    await assert_only_these_are_left(place, rollup_database, others(actor_id))
    with psycopg.connect(place.owner_dsn) as connection:
        audit = connection.execute("SELECT subject, org_id, action, reason FROM analytics.audit_log").fetchall()
    assert [(subject, org_id, action) for subject, org_id, action, _ in audit] == [("somebody", ORG, "org:erase")] * 2
    assert "a,b" not in str(audit)


async def test_it_goes_on_where_it_was_interrupted(place: Database, rollup_database: WriteDatabase) -> None:
    """Between a day's events and its rollups, and after that day: asked again, it ends with the same."""
    store(place.dsn("analytics_ingest"), in_batches(EVENTS, 300))
    await fold_all(rollup_database)
    wanted = Wanted(ORG, "a", "somebody")

    class Interrupted(Exception):
        pass

    def interrupt(_: object) -> None:
        raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasure, "repair", lambda *_: interrupt(None))
        with pytest.raises(Interrupted):
            await erase(rollup_database, wanted, lambda _: None)
    with pytest.raises(Interrupted):
        await erase(rollup_database, wanted, interrupt)
    erased = await erase(rollup_database, wanted, lambda _: None)

    assert erased == len(EVENTS) - len(others("a"))
    await assert_only_these_are_left(place, rollup_database, others("a"))
    with psycopg.connect(place.owner_dsn) as connection:
        rows = connection.execute("SELECT completed_at IS NOT NULL, erased_events FROM analytics.erasures").fetchall()
    assert rows == [(True, erased)]


@pytest.mark.parametrize("actor_id", [None, "a"])
async def test_rollups_outlive_their_events(
    place: Database, rollup_database: WriteDatabase, actor_id: str | None
) -> None:
    """Where retention has dropped the events, an organisation's buckets go, and an actor's lose the name alone."""
    store(place.dsn("analytics_ingest"), in_batches(EVENTS, 300))
    await fold_all(rollup_database)
    with psycopg.connect(place.superuser_dsn) as connection:
        before = connection.execute("SELECT sum(invocations) FROM analytics.usage_actor_hourly").fetchone()
        connection.execute("SELECT drop_chunks('analytics.usage_events', older_than => '2030-01-01'::timestamptz)")
        connection.execute("INSERT INTO analytics.retained VALUES ('usage_events', '2030-01-01')")
    await erase(rollup_database, Wanted(ORG, actor_id, "somebody"), lambda _: None)
    with psycopg.connect(place.owner_dsn) as connection:
        after = connection.execute("SELECT sum(invocations) FROM analytics.usage_actor_hourly").fetchone()
        named = connection.execute(
            "SELECT count(*) FROM analytics.usage_actor_daily WHERE org_id = %s AND actor_id = coalesce(%s, actor_id)",
            [ORG, actor_id],
        ).fetchone()

    assert named == (0,)
    assert before is not None
    assert after == (before if actor_id else (sum(event.org_id != ORG for event in EVENTS),))


NAME = 'Zoë "😀" Smith'
QUOTED = json.dumps(NAME, ensure_ascii=False).encode()
ASCII = json.dumps(NAME).encode()
# Which organisation the letter is said to be of, its body and the corrected one; what erasing the actor leaves of them.
LETTERS: dict[str, tuple[UUID | None, bytes, bytes | None, bool]] = {
    "another actor": (ORG, b'{"actorId":"bob"}', None, True),
    "in UTF-8": (ORG, b'{"actorId":' + QUOTED, None, False),
    "in ASCII": (ORG, b'{"actorId":' + ASCII, None, False),
    "in ASCII, large digits": (ORG, b'{"actorId":' + ASCII.replace(b"\\u00eb", b"\\u00EB"), None, False),
    "no JSON at all": (ORG, b"\xff\x00" + NAME.encode(), None, False),
    "in the correction": (ORG, b"not JSON", ASCII, False),
    "organisation in the body": (None, f'{{"orgId":"{ORG}","actorId":'.encode() + QUOTED, None, False),
    "organisation in capitals": (None, f'{{"orgId":"{ORG}"'.upper().encode(), None, True),
    "nobody's": (None, QUOTED, None, True),
    "somebody else's": (UUID(int=7), QUOTED, None, True),
}


def dead_letters(place: Database) -> set[str]:
    with psycopg.connect(place.owner_dsn) as connection:
        return {name for (name,) in connection.execute("SELECT detail FROM analytics.dead_letters").fetchall()}


async def test_dead_letters_go_however_they_spell_the_name(place: Database, rollup_database: WriteDatabase) -> None:
    """First those of the actor, then the organisation's others; what names neither stays."""
    (batch_id,) = store(place.dsn("analytics_ingest"), in_batches(EVENTS[:1], 1))
    with psycopg.connect(place.owner_dsn) as connection:
        for offset, (name, (org_id, body, corrected, _)) in enumerate(LETTERS.items()):
            connection.execute(
                "INSERT INTO analytics.dead_letters (batch_id, stream, partition, stream_offset, reason, detail, body,"
                " org_id, replayed_body) VALUES (%s, 's', 0, %s, 'not_json', %s, %s, %s, %s)",
                [batch_id, offset, name, body, org_id, corrected],
            )
    await erase(rollup_database, Wanted(ORG, NAME, "somebody"), lambda _: None)
    after_actor = dead_letters(place)
    await erase(rollup_database, Wanted(ORG, None, "somebody"), lambda _: None)

    assert after_actor == {name for name, (*_, stays) in LETTERS.items() if stays}
    assert dead_letters(place) == {"nobody's", "somebody else's"}


def test_events_go_for_an_erasure_alone(place: Database) -> None:
    """rollup has no right to delete events, only to carry out what is written down."""
    with psycopg.connect(place.dsn("analytics_rollup")) as connection:
        for arguments in ("1, NULL", "0, 'a'"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(f"SELECT analytics.erase_events({arguments}, now(), now(), 1)".encode())


def test_the_command_counts_first(place: Database) -> None:
    """--dry-run changes nothing."""
    store(place.dsn("analytics_ingest"), in_batches(EVENTS, 300))

    def erase_actor(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.prefix) / "bin" / "analytics-rollup", "erase", "--org", str(ORG), "--actor", "a", *options],
            env={"DATABASE_URL": place.dsn("analytics_rollup"), "RABBITMQ_URL": "amqp://nowhere"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    count = f"{len(EVENTS) - len(others('a')):,} events"
    first, second, third = erase_actor("--dry-run"), erase_actor(), erase_actor("--dry-run")

    assert (first.returncode, first.stdout) == (0, f"{count} would be erased.\n")
    assert (second.returncode, second.stdout) == (0, f"Erased {count}.\n")
    assert third.stdout == "0 events would be erased.\n"
