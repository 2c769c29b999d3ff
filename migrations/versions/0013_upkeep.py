"""Recounts of every family, retention by whole chunks, erasure."""

from migrations.sql_file import run_sql_file

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_sql_file("0013_upkeep.sql")


def downgrade() -> None:
    raise NotImplementedError("Migrations only go forward: restore a backup, or write one that undoes this one")
