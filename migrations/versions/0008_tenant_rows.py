"""Row-level security: the second wall between tenants."""

from migrations.sql_file import run_sql_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_sql_file("0008_tenant_rows.sql")


def downgrade() -> None:
    raise NotImplementedError("Migrations only go forward: restore a backup, or write one that undoes this one")
