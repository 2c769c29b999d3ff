"""Runs the migrations: one at a time per database, each in its own transaction, never blocking for long.

`DATABASE_URL` names the database as its owner (`postgres://…`). No autogenerate: `create_hypertable` makes
indexes that a metadata comparison would drop.
"""

import os
import sys

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.engine import make_url

# Any fixed number works; it only has to be the same for every migrator of one database.
MIGRATION_LOCK_KEY = 7_221_093_114
# A migration that waits for a lock makes every later query queue behind it; five seconds is the longest
# stall that readers should see. A failed migration is simply run again.
LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "10min"
# A second migrator waits for the first one (a rollout starts several), but not for ever.
MIGRATOR_WAIT = "5min"


def database_url() -> str:
    """The owner's DSN with the psycopg driver; ends the program with the variable's name when it is missing."""
    value = os.environ.get("DATABASE_URL", "")
    if not value.startswith(("postgres://", "postgresql://")):
        sys.exit("DATABASE_URL: expected postgres://user:password@host:port/database of the schema's owner")
    url = make_url(value.replace("postgres://", "postgresql://", 1))
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def prepare(connection: Connection) -> None:
    """Take the migration lock for this session, set the timeouts and make the schema of the version table."""
    connection.execute(text("SELECT set_config('lock_timeout', :wait, false)"), {"wait": MIGRATOR_WAIT})
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK_KEY})
    connection.execute(text("SELECT set_config('lock_timeout', :wait, false)"), {"wait": LOCK_TIMEOUT})
    connection.execute(text("SELECT set_config('statement_timeout', :wait, false)"), {"wait": STATEMENT_TIMEOUT})
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS analytics"))
    connection.commit()


def run() -> None:
    engine = create_engine(database_url(), poolclass=pool.NullPool)
    with engine.connect() as connection:
        prepare(connection)
        context.configure(
            connection=connection,
            target_metadata=None,
            version_table="schema_version",
            version_table_schema="analytics",
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    sys.exit("Offline mode is not supported: the migrations ask the database which edition of TimescaleDB it runs")
run()
