"""The trace contexts of batches and folds."""

from migrations.sql_file import run_sql_file

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_sql_file("0014_traces.sql")


def downgrade() -> None:
    raise NotImplementedError("Migrations only go forward: restore a backup, or write one that undoes this one")
