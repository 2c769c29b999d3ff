"""Dead letters can be replayed, and partitions stay stopped until somebody decides."""

from migrations.sql_file import run_sql_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql_file("0006_dead_letters_and_stops.sql")


def downgrade() -> None:
    raise NotImplementedError("Migrations only go forward: restore a backup, or write one that undoes this one")
