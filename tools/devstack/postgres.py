"""PostgreSQL 17 with TimescaleDB, tuned for one small machine that it shares with everything else."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from tools.devstack import sandbox
from tools.devstack.component import CHECK_TIMEOUT_S, Component
from tools.devstack.problems import StackError
from tools.devstack.progress import step
from tools.devstack.stack import DATABASE_NAME, OWNER_ROLE, Stack

BINARIES = "/usr/lib/postgresql/17/bin"
CLUSTER = f"{sandbox.DATA_INSIDE}/cluster"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    # The Apache edition has no background jobs. Without its schedulers (one per database, each holding a connection)
    # a test database can be dropped at once.
    "timescaledb.max_background_workers": "0",
    # Four services with their pools, and several test sessions at once.
    "max_connections": "300",
    "effective_cache_size": "2GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    # At 50,000 events/s the log grows by 1.5 GB a minute, twice that right after a checkpoint, and the next one begins
    # at half of the limit. Little load never uses the room.
    "max_wal_size": "16GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "lz4",
    "max_locks_per_transaction": "256",
    "random_page_cost": "1.1",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %u@%d %a: ",
    "log_min_duration_statement": "1s",
    "TimeZone": "UTC",
}

# Killed processes lose nothing by this, only a machine that loses power does, which no test does to it. Creating and
# dropping a database takes 0.1 s instead of 0.3 s.
TEST_SETTINGS = {"fsync": "off"}

MEMORY_MB = range(512, 8192 + 1)
"""What the benchmarks' server may have for pages, however small or large the machine is."""


def shared_buffers_mb(stack: str) -> int:
    """The server's memory for pages: 512 MB beside somebody's other work; a quarter of the machine in benchmarks, which
    is what an operator gives a server of its own."""
    quarter = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 // 4
    return max(MEMORY_MB.start, min(MEMORY_MB.stop - 1, quarter)) if stack == "bench" else MEMORY_MB.start


def component(stack: Stack, root: Path) -> Component:
    port = stack.ports.postgres
    settings = {
        **SETTINGS,
        **(TEST_SETTINGS if stack.name == "test" else {}),
        "shared_buffers": f"{shared_buffers_mb(stack.name)}MB",
        "port": str(port),
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Component(
        name="postgres",
        command=tuple(
            sandbox.command(
                root, stack.data("postgres"), "postgres:postgres", [f"{BINARIES}/postgres", "-D", CLUSTER, *options]
            )
        ),
        environment=sandbox.environment({}),
        ports={"postgres": port},
        url=f"postgres://127.0.0.1:{port}/{DATABASE_NAME}",
        check=lambda: check(stack),
        prepare=lambda: _create_cluster(stack, root),
        # SIGINT is PostgreSQL's fast shutdown: it ends sessions instead of waiting for them.
        stop_signal=signal.SIGINT,
        stop_patience_s=30,
    )


def superuser_dsn(stack: Stack, database: str = "postgres") -> str:
    return f"postgres://postgres:{stack.secrets.superuser_password}@127.0.0.1:{stack.ports.postgres}/{database}"


def check(stack: Stack) -> str | None:
    try:
        with psycopg.connect(superuser_dsn(stack), connect_timeout=int(CHECK_TIMEOUT_S)) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return str(error).strip().splitlines()[-1]
    return None


def ensure_owner_and_database(stack: Stack) -> None:
    """The role that owns the schema and runs the migrations, and its database.

    The role is no superuser, as on a managed service.
    """
    with psycopg.connect(superuser_dsn(stack), autocommit=True) as connection:
        if not _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", OWNER_ROLE):
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}").format(
                    sql.Identifier(OWNER_ROLE), sql.Literal(stack.secrets.owner_password)
                )
            )
            connection.execute(sql.SQL("GRANT pg_signal_backend TO {}").format(sql.Identifier(OWNER_ROLE)))
        if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE_NAME):
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE_NAME), sql.Identifier(OWNER_ROLE))
            )


def _exists(connection: psycopg.Connection, query: str, name: str) -> bool:
    return connection.execute(query.encode(), (name,)).fetchone() is not None


def _create_cluster(stack: Stack, root: Path) -> None:
    """Runs initdb once; a cluster that an interrupted run left half made is made again."""
    data = stack.data("postgres")
    data.mkdir(exist_ok=True)
    if (data / "complete").exists():
        return
    shutil.rmtree(data / "cluster", ignore_errors=True)
    sandbox.give_to(root, "postgres", data)
    password = data / "superuser-password"
    password.write_text(stack.secrets.superuser_password)
    sandbox.give_to(root, "postgres", password)
    arguments = [
        f"{BINARIES}/initdb",
        "-D",
        CLUSTER,
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--auth-host=scram-sha-256",
        "--auth-local=reject",
        "--data-checksums",
        f"--pwfile={sandbox.DATA_INSIDE}/{password.name}",
    ]
    with step("Creating the database cluster"):
        done = subprocess.run(
            sandbox.command(root, data, "postgres:postgres", arguments),
            env=sandbox.environment({}),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    password.unlink()
    if done.returncode != 0:
        raise StackError(
            f"initdb failed:\n{done.stderr or done.stdout}",
            "Is the disk full? Then free some space and run the command again.",
        )
    (data / "complete").touch()
