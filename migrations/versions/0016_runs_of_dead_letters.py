"""What a run of dead letters has come to by the end of a batch."""

from migrations.sql_file import run_sql_file

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_sql_file("0016_runs_of_dead_letters.sql")


def downgrade() -> None:
    raise NotImplementedError("Migrations only go forward: restore a backup, or write one that undoes this one")
