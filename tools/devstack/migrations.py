"""Brings a database to the schema of the checkout and lets the services' roles log in."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg import sql

from tools.devstack.postgres import superuser_dsn
from tools.devstack.problems import StackError
from tools.devstack.stack import DATABASE_ROLES, PROJECT, Stack, exclusive

# A fresh database takes about 2 s; beyond this something holds a lock.
PATIENCE_S = 180


def migrate(database_url: str) -> None:
    """Runs every migration that the database does not have yet, as the role in `database_url`."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(PROJECT / "migrations" / "alembic.ini"), "upgrade", "head"],
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=PROJECT,
        timeout=PATIENCE_S,
    )
    if done.returncode != 0:
        lines = "\n".join(f"  {line}" for line in (done.stderr or done.stdout).strip().splitlines()[-12:])
        raise StackError(
            f"The migrations failed:\n{lines}",
            "Mend the migration and run the command again."
            " To begin with an empty database: ./tools/dev down && rm -r .dev",
        )


def enable_roles(stack: Stack) -> None:
    """Gives the services' roles LOGIN and this stack's password (the migrations create them without).

    Roles belong to the whole cluster: two callers at once would make PostgreSQL refuse one of them.
    """
    with (
        exclusive(stack.folder / "roles.lock", "setting the database passwords"),
        psycopg.connect(superuser_dsn(stack), autocommit=True) as connection,
    ):
        for role in DATABASE_ROLES:
            connection.execute(
                sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(stack.secrets.role_password)
                )
            )


def sources() -> list[Path]:
    """The files that say what the schema is."""
    return sorted((PROJECT / "migrations").rglob("*.sql")) + sorted((PROJECT / "migrations").rglob("*.py"))
