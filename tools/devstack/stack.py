"""One stack: its folder, ports and secrets, created once and the same for every later command."""

import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.devstack.ports import Ports

PROJECT = Path(__file__).resolve().parents[2]
DATABASE_ROLES = ("analytics_ingest", "analytics_rollup", "analytics_query_api", "analytics_export")
OWNER_ROLE = "analytics_owner"
DATABASE_NAME = "analytics"
BUCKET = "analytics-exports"


def _secret() -> str:
    """Letters and digits only, so that it fits URLs, shells and server configurations without quoting."""
    return secrets.token_hex(20)


@dataclass(frozen=True)
class Secrets:
    superuser_password: str = field(default_factory=_secret)
    owner_password: str = field(default_factory=_secret)
    role_password: str = field(default_factory=_secret)
    redis_password: str = field(default_factory=_secret)
    rabbitmq_password: str = field(default_factory=_secret)
    erlang_cookie: str = field(default_factory=_secret)
    s3_access_key: str = field(default_factory=_secret)
    s3_secret_key: str = field(default_factory=_secret)
    jwt_secret: str = field(default_factory=_secret)
    actor_signature_secret: str = field(default_factory=_secret)


@dataclass(frozen=True)
class Stack:
    name: str
    folder: Path
    ports: Ports
    secrets: Secrets

    @property
    def env_file(self) -> Path:
        return env_file(self.name)

    def data(self, component: str) -> Path:
        return self.folder / "data" / component

    def log_file(self, component: str) -> Path:
        return self.folder / "logs" / f"{component}.log"

    def pid_file(self, component: str) -> Path:
        return self.folder / "run" / f"{component}.json"


def stack_folder(name: str) -> Path:
    return PROJECT / ".dev" / name


def env_file(name: str) -> Path:
    """`.dev/env` for the stack people work with, `.dev/NAME/env` for any other."""
    return PROJECT / ".dev" / "env" if name == "dev" else stack_folder(name) / "env"


def saved_base(name: str) -> int | None:
    """The port base that the stack's last `up` chose; None before the first one and after `down`."""
    file = stack_folder(name) / "port-base"
    return int(file.read_text()) if file.exists() else None


def open_stack(name: str, base: int) -> Stack:
    """The stack as its folder describes it; creates folder and secrets when they do not exist yet."""
    folder = stack_folder(name)
    for part in ("data", "logs", "run"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "port-base").write_text(f"{base}\n")
    return Stack(name, folder, Ports.from_base(base), _load_secrets(folder / "secrets.json"))


def _load_secrets(file: Path) -> Secrets:
    if not file.exists():
        write_private(file, json.dumps(asdict(Secrets()), indent=1))
    return Secrets(**json.loads(file.read_text()))


def write_private(file: Path, text: str) -> None:
    """Replaces the file in one step; only its owner can read it."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    temporary.replace(file)


@contextmanager
def exclusive(file: Path, doing: str) -> Iterator[None]:
    """Only one process at a time gets past this line; the others wait and say for what.

    The kernel frees the lock when its holder dies, however it dies.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:
        announced = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not announced:
                    print(f"Waiting: another process is {doing} …", file=sys.stderr, flush=True)
                    announced = True
                time.sleep(0.2)
        yield
