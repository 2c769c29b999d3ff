"""What a test gets of the test stack: servers that stay up between sessions, and places in them that are its own."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import httpx
from minio import Minio

from tools.devstack import envfile, postgres
from tools.devstack.stack import DATABASE_ROLES, OWNER_ROLE, PROJECT, Stack, open_stack, saved_base

STACK = "test"
# The first run on a machine installs the servers; see tools/devstack/rootfolder.py.
START_PATIENCE_S = 600


@dataclass(frozen=True)
class Servers:
    """The running test stack. `env` has the variables of its env file."""

    stack: Stack
    env: dict[str, str]


def start_servers(name: str = STACK) -> Servers:
    """The stack's servers, started when they do not run; raises RuntimeError with what the start said."""
    command = [sys.executable, "-m", "tools.devstack", "servers", "--stack", name]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )
    base = saved_base(name)
    if done.returncode != 0 or base is None:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    stack = open_stack(name, base)
    return Servers(stack, envfile.parse(stack.env_file))


@dataclass(frozen=True)
class Database:
    """One migrated database; `dsn(role)` logs in as a service, `owner_dsn` as the schema's owner."""

    stack: Stack
    name: str

    @property
    def owner_dsn(self) -> str:
        return envfile.database_url(self.stack, OWNER_ROLE, self.name)

    @property
    def superuser_dsn(self) -> str:
        return postgres.superuser_dsn(self.stack, self.name)

    def dsn(self, role: str) -> str:
        """DSN of `analytics_ingest`, `analytics_rollup`, `analytics_query_api` or `analytics_export`."""
        if role not in DATABASE_ROLES:
            raise ValueError(f"unknown role {role!r}, expected one of {DATABASE_ROLES}")
        return envfile.database_url(self.stack, role, self.name)


@dataclass(frozen=True)
class RabbitMq:
    """One virtual host, empty at first."""

    stack: Stack
    vhost: str
    user: str
    password: str

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def amqp_port(self) -> int:
        return self.stack.ports.amqp

    @property
    def stream_port(self) -> int:
        return self.stack.ports.stream

    @property
    def amqp_url(self) -> str:
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.amqp_port}/{self.vhost}"

    @property
    def stream_url(self) -> str:
        return f"rabbitmq-stream://{self.user}:{self.password}@{self.host}:{self.stream_port}/{self.vhost}"

    def management(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Calls the management API, for example `("GET", f"/queues/{vhost}")`; raises on a refusal."""
        url = f"http://{self.host}:{self.stack.ports.management}/api{path}"
        response = httpx.request(method, url, auth=(self.user, self.password), timeout=30, trust_env=False, **arguments)
        return response.raise_for_status()


@dataclass(frozen=True)
class ObjectStore:
    """One bucket, empty at first, and a client that may do everything with it."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    bucket: str
    client: Minio
