"""One writer per table: every write that the matrix does not list is refused by PostgreSQL."""

from itertools import product

import psycopg
import pytest

from tests.support.stack import Database

# docs/ARCHITECTURE.md, "Who writes which table".
MATRIX: dict[tuple[str, str], set[str]] = {
    ("analytics_ingest", "usage_events"): {"INSERT"},
    ("analytics_ingest", "ingestion_batches"): {"INSERT"},
    ("analytics_ingest", "dead_letters"): {"INSERT"},
    ("analytics_ingest", "stream_offsets"): {"INSERT", "UPDATE"},
    ("analytics_ingest", "ingest_owners"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_ingest", "stream_gaps"): {"INSERT"},
    ("analytics_ingest", "audit_log"): {"INSERT"},
    ("analytics_rollup", "usage_hourly"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_rollup", "usage_daily"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_rollup", "usage_quarter_hourly"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_rollup", "usage_detail_hourly"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_rollup", "usage_detail_daily"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_rollup", "usage_actor_hourly"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_rollup", "usage_actor_daily"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_rollup", "freshness_status"): {"INSERT", "UPDATE", "DELETE"},
    ("analytics_rollup", "erasures"): {"INSERT"},
    ("analytics_rollup", "audit_log"): {"INSERT"},
    ("analytics_query_api", "audit_log"): {"INSERT"},
    ("analytics_query_api", "audit_pending"): {"DELETE"},
    ("analytics_query_api", "audit_links"): {"INSERT"},
    ("analytics_query_api", "audit_heads"): {"INSERT", "UPDATE"},
    ("analytics_export", "export_jobs"): {"INSERT", "UPDATE"},
    ("analytics_export", "export_schedules"): {"INSERT", "UPDATE"},
    ("analytics_export", "audit_log"): {"INSERT"},
}
ROLES = ("analytics_ingest", "analytics_rollup", "analytics_query_api", "analytics_export")
TABLES = (
    "usage_events", "ingestion_batches", "stream_offsets", "dead_letters", "usage_hourly", "usage_daily",
    "usage_quarter_hourly", "usage_detail_hourly", "usage_detail_daily", "usage_actor_hourly", "usage_actor_daily",
    "rollup_progress", "retained", "erasures", "erased_events",
    "freshness_status", "ingest_owners", "stream_gaps", "export_jobs", "export_schedules",
    "audit_log", "audit_pending", "audit_links", "audit_heads", "schema_version",
)  # fmt: skip
WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")


def statement(connection: psycopg.Connection, write: str, table: str) -> bytes:
    """A statement of this kind that touches no row, but needs the right to."""
    column = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", [f"analytics.{table}"]
    ).fetchone()
    assert column is not None
    return {
        "INSERT": f"INSERT INTO analytics.{table} OVERRIDING SYSTEM VALUE"
        f" SELECT (NULL::analytics.{table}).* WHERE false",
        "UPDATE": f"UPDATE analytics.{table} SET {column[0]} = DEFAULT WHERE false",
        "DELETE": f"DELETE FROM analytics.{table} WHERE false",
        "TRUNCATE": f"TRUNCATE analytics.{table}",
    }[write].encode()


def is_allowed(connection: psycopg.Connection, write: str, table: str) -> bool:
    try:
        connection.execute(statement(connection, write, table))
    except psycopg.errors.InsufficientPrivilege:
        return False
    finally:
        connection.rollback()
    return True


def test_the_matrix_is_complete(database: Database) -> None:
    """A new table needs a writer, or a line here that it has none."""
    with psycopg.connect(database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('r', 'p')"
        ).fetchall()

    assert {name for (name,) in rows} == set(TABLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_writes_what_the_matrix_says_and_nothing_else(database: Database, role: str) -> None:
    """Each kind of write on each table, tried with the role's own login."""
    with psycopg.connect(database.dsn(role)) as connection:
        found = {(table, write) for table, write in product(TABLES, WRITES) if is_allowed(connection, write, table)}

    assert found == {(table, write) for (owner, table), writes in MATRIX.items() if owner == role for write in writes}


def test_rollup_marks_batches_and_changes_nothing_else_of_them(database: Database) -> None:
    """A column's right: ingest's counts are not rollup's to touch."""
    with psycopg.connect(database.dsn("analytics_rollup")) as connection:
        connection.execute("UPDATE analytics.ingestion_batches SET folded_at = now() WHERE false")
        for column in ("stored_count", "first_chunk_at", "committed_at"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(f"UPDATE analytics.ingestion_batches SET {column} = DEFAULT WHERE false".encode())


def test_ingest_notes_the_replay_of_a_dead_letter_and_changes_nothing_else_of_it(database: Database) -> None:
    """What arrived, and why it was refused, stays as it was written."""
    with psycopg.connect(database.dsn("analytics_ingest")) as connection:
        connection.execute("UPDATE analytics.dead_letters SET replayed_at = now(), replayed_by = 'x' WHERE false")
        for column in ("body", "reason", "stream_offset"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(f"UPDATE analytics.dead_letters SET {column} = DEFAULT WHERE false".encode())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_what_it_needs_and_makes_nothing(database: Database, role: str) -> None:
    """SELECT on all tables but these; no new objects. Which rows: test_tenant_rows."""
    hidden = {"usage_events", "dead_letters"} if role in {"analytics_query_api", "analytics_export"} else set()
    hidden |= {"audit_log", "audit_pending", "audit_links", "audit_heads"} if role != "analytics_query_api" else set()
    hidden |= {"erasures"} if role != "analytics_rollup" else set()
    with psycopg.connect(database.dsn(role)) as connection:
        for table in set(TABLES) - hidden:
            connection.execute(f"SELECT FROM analytics.{table} LIMIT 1".encode())
        for forbidden in ("CREATE TABLE analytics.extra ()", "CREATE SCHEMA extra", "SET ROLE analytics_owner"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(forbidden.encode())


def test_a_chunk_can_be_written_by_nobody_but_its_tables_writer(database: Database) -> None:
    """Chunks are tables of their own: they must have the rights of the hypertable."""
    with psycopg.connect(database.dsn("analytics_rollup")) as connection:
        connection.execute(
            "INSERT INTO analytics.usage_hourly VALUES"
            " (gen_random_uuid(), '2026-03-10', 'm', 1, 0, 0, 0, 0, 0, 0, 0, 0, '{}', '{}', 0, now(), now())"
        )
        chunk = connection.execute("SELECT show_chunks('analytics.usage_hourly')::text").fetchone()
    assert chunk is not None
    for role in set(ROLES) - {"analytics_rollup"}:
        with psycopg.connect(database.dsn(role)) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute(f"DELETE FROM {chunk[0]}".encode())


def test_the_audit_log_is_append_only_for_its_owner_too(database: Database) -> None:
    """Whoever runs the migrations does not rewrite history by accident."""
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(
            "INSERT INTO analytics.audit_log"
            " (decided_at, service, subject, roles, action, decision, reason, request_id, method, path)"
            " VALUES (now(), 's', 's', '{}', 'a', 'allow', 'r', 'id', 'GET', '/')"
        )
        connection.commit()
        for write in ("UPDATE analytics.audit_log SET decision = 'deny'", "DELETE FROM analytics.audit_log"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"), connection.transaction():
                connection.execute(write.encode())
