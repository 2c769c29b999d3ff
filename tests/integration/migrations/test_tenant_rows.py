"""Row-level security: what a service's role sees without its code being careful."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.stack import Database

TENANT_ROLES = ("analytics_query_api", "analytics_export")
SERVICE_ROLES = (*TENANT_ROLES, "analytics_ingest", "analytics_rollup")
# Tables with an org_id but without a policy; no role that serves tenants may read them.
CLOSED = ("usage_events", "dead_letters", "erasures")
AUDIT_TABLES = {"audit_log", "audit_links", "audit_heads"}
"""Shown by query-api alone, and append-only: a test leaves its rows."""
HYPERTABLES = ("usage_events", "usage_hourly", "usage_daily", "audit_log")


@dataclass(frozen=True)
class Tenants:
    """A database in which two organisations have one row in each tenant table."""

    database: Database
    mine: UUID
    theirs: UUID


@pytest.fixture(scope="module")
def tenants(database: Database) -> Iterator[Tenants]:
    """Rows made by the schema's owner, in all tables at once."""
    found = Tenants(database, uuid4(), uuid4())
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        for table in (*tenant_tables(owner), "usage_events"):
            for org_id in (found.mine, found.theirs):
                owner.execute(insertion(owner, table).encode(), {"org_id": org_id})
        yield found
        for table in {*tenant_tables(owner), "usage_events"} - AUDIT_TABLES:
            for org_id in (found.mine, found.theirs):
                owner.execute(f"DELETE FROM analytics.{table} WHERE org_id = %s".encode(), [org_id])


def tenant_tables(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'org_id'"
        " WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname"
    ).fetchall()
    return [name for (name,) in rows if name not in CLOSED]


# A value for each required column that a check constraint lets through.
VALUES = {
    "status": "'success'", "decision": "'allow'", "granularity": "'daily'", "range_end": "now() + INTERVAL '1 day'",
    "audit_id": "-(random() * 1e15)::bigint",
    "period_end": "now() + INTERVAL '1 day'",
}  # fmt: skip
BY_TYPE = {
    "uuid": "gen_random_uuid()", "timestamptz": "now()", "text": "'x'", "_text": "'{}'", "int2": "0", "int4": "0",
    "int8": "0", "_int2": "'{}'", "_int8": "'{}'", "bool": "false", "jsonb": "'{}'", "bytea": "'x'", "date": "now()",
}  # fmt: skip


def insertion(connection: psycopg.Connection, table: str) -> str:
    """An INSERT of one row of `%(org_id)s` with the required columns alone."""
    columns = connection.execute(
        "SELECT attname, typname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull AND NOT atthasdef AND attidentity = ''"
        " AND attname <> 'org_id'",
        [f"analytics.{table}"],
    ).fetchall()
    names = ", ".join(["org_id", *(name for name, _ in columns)])
    statuses = VALUES if table != "export_jobs" else VALUES | {"status": "'pending'"}
    values = ", ".join(["%(org_id)s", *(statuses.get(name, BY_TYPE[kind]) for name, kind in columns)])
    return f"INSERT INTO analytics.{table} ({names}) VALUES ({values})"


def orgs_seen(connection: psycopg.Connection, table: str) -> set[UUID]:
    return {org for (org,) in connection.execute(f"SELECT DISTINCT org_id FROM analytics.{table}".encode()).fetchall()}


def readable(connection: psycopg.Connection, role: str) -> list[str]:
    hidden = AUDIT_TABLES if role != "analytics_query_api" else set()
    return [table for table in tenant_tables(connection) if table not in hidden]


def test_every_table_with_an_organisation_is_protected(database: Database) -> None:
    """A new table goes through analytics.protect_tenant_table(), or is closed to those who serve tenants."""
    with psycopg.connect(database.owner_dsn) as connection:
        unprotected = [
            table
            for table in tenant_tables(connection)
            for policies in connection.execute(
                "SELECT count(*) FILTER (WHERE polname = 'tenant_rows' AND relrowsecurity) FROM pg_class"
                " LEFT JOIN pg_policy ON polrelid = pg_class.oid WHERE pg_class.oid = %s::regclass",
                [f"analytics.{table}"],
            ).fetchall()
            if policies != (1,)
        ]

    assert unprotected == []


@pytest.mark.parametrize("role", SERVICE_ROLES)
def test_no_service_is_above_the_policies(database: Database, role: str) -> None:
    """Policies do not hold for superusers, for BYPASSRLS and for owners: no service is one, nor may become one."""
    with psycopg.connect(database.dsn(role), autocommit=True) as connection:
        (above,) = connection.execute(
            "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone() or (None,)
        owned = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'analytics'::regnamespace"
            " AND pg_has_role(relowner, 'MEMBER')"
        ).fetchall()
        becomes = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname <> current_user AND pg_has_role(oid, 'MEMBER')"
        ).fetchall()
        (active,) = connection.execute("SELECT row_security_active('analytics.usage_hourly')").fetchone() or (None,)

    assert (above, owned, becomes, active) == (False, [], [], True)


@pytest.mark.parametrize("role", TENANT_ROLES)
def test_a_transaction_sees_its_organisation_alone_and_without_one_nothing(tenants: Tenants, role: str) -> None:
    """The setting ends with its transaction: the next user of a pooled connection starts with nothing."""
    with psycopg.connect(tenants.database.dsn(role), autocommit=True) as connection:
        for table in readable(connection, role):
            before = orgs_seen(connection, table)
            with connection.transaction():
                connection.execute(f"SET LOCAL app.org_id = '{tenants.mine}'".encode())
                inside = orgs_seen(connection, table)
            after = orgs_seen(connection, table)
            with connection.transaction():
                connection.execute("SET LOCAL app.scope = 'platform'")
                everybody = orgs_seen(connection, table)

            assert (before, inside, after) == (set(), {tenants.mine}, set()), table
            assert {tenants.mine, tenants.theirs} <= everybody, table


@pytest.mark.parametrize("role", TENANT_ROLES)
def test_raw_events_are_seen_through_the_view_alone(tenants: Tenants, role: str) -> None:
    """COPY, and so ingest's speed, is impossible into a table with policies."""
    with psycopg.connect(tenants.database.dsn(role), autocommit=True) as connection:
        for table in CLOSED:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT FROM analytics.{table} LIMIT 1".encode())
        without = orgs_seen(connection, "visible_events")
        connection.execute(f"SET app.org_id = '{tenants.mine}'".encode())
        inside = orgs_seen(connection, "visible_events")

    assert (without, inside) == (set(), {tenants.mine})


def test_metadata_of_any_age_is_seen_alike(tenants: Tenants) -> None:
    """Rows from before metadata_json have theirs in jsonb, and no project of their own."""
    seen = "SELECT DISTINCT metadata, project FROM analytics.visible_events WHERE metadata IS NOT NULL"
    with psycopg.connect(tenants.database.owner_dsn) as connection:
        connection.execute("SET LOCAL app.scope = 'platform'")
        connection.execute(
            "UPDATE analytics.usage_events SET metadata = NULL, project = 'p', metadata_json = '{\"project\":\"p\"}'"
        )
        new = connection.execute(seen).fetchall()
        connection.execute(
            "UPDATE analytics.usage_events SET metadata = metadata_json::jsonb, project = NULL, metadata_json = NULL"
        )
        old = connection.execute(seen).fetchall()
        connection.rollback()

    assert new == old == [({"project": "p"}, "p")]


@pytest.mark.parametrize("role", TENANT_ROLES)
def test_every_column_of_a_tenant_table_can_be_read(tenants: Tenants, role: str) -> None:
    """Rights on hypertables are by column: one that a migration added needs the helper once more."""
    with psycopg.connect(tenants.database.dsn(role), autocommit=True) as connection:
        for table in readable(connection, role):
            connection.execute(f"SELECT * FROM analytics.{table} LIMIT 1".encode())


@pytest.mark.parametrize("role", TENANT_ROLES)
@pytest.mark.parametrize("table", HYPERTABLES)
def test_there_is_no_way_around_through_a_chunk(tenants: Tenants, role: str, table: str) -> None:
    """Policies are not inherited by chunks, and everybody may look into the schema that they are in."""
    with psycopg.connect(tenants.database.dsn(role), autocommit=True) as connection:
        (chunk,) = connection.execute("SELECT show_chunks(%s::regclass)::text", [f"analytics.{table}"]).fetchone() or ()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT * FROM {chunk}".encode())


def test_a_job_of_another_organisation_can_neither_be_made_nor_changed(tenants: Tenants) -> None:
    """The wall stands for writes, too."""
    with psycopg.connect(tenants.database.dsn("analytics_export"), autocommit=True) as connection:
        insert = insertion(connection, "export_jobs").encode()
        connection.execute(f"SET app.org_id = '{tenants.mine}'".encode())
        changed = connection.execute(
            "UPDATE analytics.export_jobs SET error_code = 'x' WHERE org_id = %s", [tenants.theirs]
        ).rowcount
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(insert, {"org_id": tenants.theirs})

    assert changed == 0


@pytest.mark.parametrize("role", ["analytics_ingest", "analytics_rollup"])
def test_the_pipeline_works_on_everybodys_rows(tenants: Tenants, role: str) -> None:
    """They serve no user, and fold all organisations in one statement."""
    with psycopg.connect(tenants.database.dsn(role), autocommit=True) as connection:
        for table in set(tenant_tables(connection)) - AUDIT_TABLES:
            assert {tenants.mine, tenants.theirs} <= orgs_seen(connection, table), table


def test_the_policy_is_asked_once_a_statement_and_leaves_the_index_in_use(tenants: Tenants) -> None:
    """Once a row it would cost half a second on a million rows."""
    with psycopg.connect(tenants.database.dsn("analytics_query_api"), autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        lines = connection.execute(
            "EXPLAIN SELECT bucket_start, model_id, invocations FROM analytics.usage_hourly"
            " WHERE org_id = %s AND bucket_start >= '2000-01-01' AND bucket_start < '2100-01-01'"
            " ORDER BY bucket_start, model_id",
            [tenants.mine],
        ).fetchall()
    plan = "\n".join(line for (line,) in lines)

    assert "Index Cond: ((org_id = " in plan
    assert "(InitPlan 1)" in plan
    assert "current_setting" not in plan.partition("Filter")[2]
