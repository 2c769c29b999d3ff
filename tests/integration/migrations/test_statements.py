"""Every named statement of every service fits the migrated schema."""

from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files

import psycopg
import pytest

from analytics_core.sql import load_queries
from tests.support.stack import Database

PACKAGES = ("analytics_core", "analytics_ingest", "analytics_rollup", "analytics_query_api", "analytics_export")
# Only these have a plan; what else there is (SET, LOCK, CREATE), its own service's tests run.
PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "MERGE")


def topics(package: str) -> list[str]:
    folder = files(import_module(package)).joinpath("sql")
    return [file.name.removesuffix(".sql") for file in folder.iterdir()] if folder.is_dir() else []


def body(statement: str) -> str:
    """Without the comment lines that say why."""
    return "\n".join(line for line in statement.splitlines() if not line.lstrip().startswith("--"))


STATEMENTS = {
    f"{package}/{topic}/{name}": body(text)
    for package in PACKAGES
    for topic in topics(package)
    for name, text in load_queries(package, topic).items()
}


# A statement that reads from another one by this name.
SOURCES = {"analytics_export/rows/sums": ("source", "analytics_export/rows/events")}


@pytest.fixture(scope="module")
def connection(database: Database) -> Iterator[psycopg.Connection]:
    """The owner's session, with the search path of the services and their temporary tables."""
    with psycopg.connect(database.owner_dsn, autocommit=True) as session:
        session.execute("SET search_path = analytics, public")
        for statement in STATEMENTS.values():
            if statement.strip().upper().startswith("CREATE TEMP"):
                session.execute(statement.replace("ON COMMIT DROP", "").encode())
        yield session


@pytest.mark.parametrize("name", [name for name, text in STATEMENTS.items() if text.strip().startswith(PLANNED)])
def test_it_can_be_planned(connection: psycopg.Connection, name: str) -> None:
    """A column that a migration renamed shows here, in every service at once, without running one."""
    statement = STATEMENTS[name]
    if name in SOURCES:
        alias, source = SOURCES[name]
        statement = f"WITH {alias} AS ({STATEMENTS[source]}) {statement}"
    # Without arguments psycopg sends the text as it is: $1 is the server's to understand.
    assert connection.execute(f"EXPLAIN (GENERIC_PLAN) {statement}".encode()).fetchall()


def test_there_are_statements_of_every_service() -> None:
    """An empty list would make the test above say nothing."""
    assert {name.split("/")[0] for name in STATEMENTS} >= {*PACKAGES} - {"analytics_core"}


def test_events_and_rollups_stay_partitioned(database: Database) -> None:
    """A fold, a query and the retention rely on chunks by time."""
    with psycopg.connect(database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT hypertable_name, column_name, extract(days FROM time_interval)::int"
            " FROM timescaledb_information.dimensions WHERE hypertable_schema = 'analytics'"
        ).fetchall()

    assert set(rows) == {
        ("usage_events", "occurred_at", 1),
        ("usage_hourly", "bucket_start", 30),
        ("usage_daily", "bucket_start", 180),
        ("usage_quarter_hourly", "bucket_start", 7),
        ("usage_detail_hourly", "bucket_start", 7),
        ("usage_detail_daily", "bucket_start", 90),
        ("usage_actor_hourly", "bucket_start", 7),
        ("usage_actor_daily", "bucket_start", 90),
        ("audit_log", "decided_at", 30),
    }
