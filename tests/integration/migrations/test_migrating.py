"""Running the migrations: from nothing, again, two at once, and never in the way of others for long."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.support.polling import eventually
from tests.support.stack import Database
from tools.schema_snapshot import SNAPSHOT, schema_text

PROJECT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "alembic", "-c", str(PROJECT / "migrations" / "alembic.ini"), "upgrade", "head"]


def start_migrator(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        COMMAND,
        env={**os.environ, "DATABASE_URL": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def migrate(url: str) -> tuple[int, str]:
    """Exit code and output."""
    with start_migrator(url) as process:
        output, _ = process.communicate(timeout=120)
        return process.returncode, output


def schema_of(place: Database) -> str:
    with psycopg.connect(place.owner_dsn) as connection:
        return schema_text(connection)


@pytest.fixture
def empty(make_database: Callable[..., Database]) -> Database:
    """A database in which no migration has run."""
    return make_database(migrated=False)


def test_from_empty_to_head_and_again(empty: Database) -> None:
    """The second run changes nothing, and the readable snapshot says what the migrations add up to (`just schema`)."""
    first = migrate(empty.owner_dsn)
    once = schema_of(empty)
    second = migrate(empty.owner_dsn)

    assert (first[0], second[0]) == (0, 0), first[1] + second[1]
    assert schema_of(empty) == once
    assert once == SNAPSHOT.read_text(encoding="utf-8")


def test_two_migrators_at_once(empty: Database) -> None:
    """A rollout starts several: one works, the other waits and finds nothing to do."""
    with start_migrator(empty.owner_dsn) as one, start_migrator(empty.owner_dsn) as other:
        outputs = [process.communicate(timeout=120)[0] for process in (one, other)]

    assert (one.returncode, other.returncode) == (0, 0), outputs
    assert schema_of(empty) == SNAPSHOT.read_text(encoding="utf-8")


def test_a_blocked_migration_gives_up(empty: Database) -> None:
    """Waiting for a lock, it makes every later query wait behind it: after 5 s it fails, and may be run again."""
    assert migrate(empty.owner_dsn)[0] == 0
    with psycopg.connect(empty.owner_dsn) as connection:
        connection.execute("DELETE FROM analytics.schema_version")
        connection.execute("DROP SCHEMA analytics CASCADE")  # not committed: the lock on the schema is held
        started = time.monotonic()
        code, output = migrate(empty.owner_dsn)
        took = time.monotonic() - started
        connection.rollback()
    again, _ = migrate(empty.owner_dsn)

    assert code != 0
    assert "lock timeout" in output
    assert 5 <= took < 60
    assert again == 0


def test_a_killed_migration_leaves_whole_steps(empty: Database) -> None:
    """Each migration is one transaction: what was under way is gone, and the next run goes on from there."""
    with (
        psycopg.connect(empty.superuser_dsn, autocommit=True) as connection,
        start_migrator(empty.owner_dsn) as process,
    ):
        eventually(lambda: connection.execute("SELECT to_regnamespace('analytics')").fetchone() != (None,))
        process.kill()
    code, output = migrate(empty.owner_dsn)

    assert code == 0, output
    assert schema_of(empty) == SNAPSHOT.read_text(encoding="utf-8")


def test_a_missing_address_is_named() -> None:
    """Not a stack trace of the driver."""
    code, output = migrate("")

    assert code != 0
    assert output.startswith("DATABASE_URL: ")
    assert "Traceback" not in output


def test_going_back_is_refused(empty: Database) -> None:
    """A downgrade would drop data: a later migration undoes an earlier one."""
    assert migrate(empty.owner_dsn)[0] == 0
    command = [*COMMAND[:-2], "downgrade", "-1"]
    done = subprocess.run(
        command,
        env={**os.environ, "DATABASE_URL": empty.owner_dsn},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode != 0
    assert "Migrations only go forward" in done.stderr
    assert schema_of(empty) == SNAPSHOT.read_text(encoding="utf-8")


def test_every_service_can_ask_for_the_version(database: Database) -> None:
    """The start of a service may check that the schema is new enough."""
    with psycopg.connect(database.dsn("analytics_query_api")) as connection:
        assert connection.execute("SELECT count(*) FROM analytics.schema_version").fetchone() == (1,)
