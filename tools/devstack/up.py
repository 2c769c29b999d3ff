"""`up`: from whatever is there to everything ready; what it started is stopped again when it cannot finish."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from tools.devstack import catalogue, docker, envfile, migrations, postgres, processes, reconcile
from tools.devstack.component import Component
from tools.devstack.interruption import uninterrupted
from tools.devstack.ports import choose_base, parse_base
from tools.devstack.problems import StackError
from tools.devstack.progress import say, step
from tools.devstack.rootfolder import check_platform, ensure_root_folder
from tools.devstack.stack import (
    OWNER_ROLE,
    Stack,
    exclusive,
    open_stack,
    saved_base,
    stack_folder,
    write_private,
)

# The log of the database grows to 16 GB under load, but an empty stack takes 300 MB; RabbitMQ stops below 500 MB.
FREE_MB_MIN = 1500
# RabbitMQ does not react to SIGTERM in the first seconds of its life.
HALF_STARTED_PATIENCE_S = 5


def up(name: str, *, servers_only: bool) -> Stack:
    """Returns when every component of stack `name` is ready and the schema is that of the checkout.

    Starts what does not run, what changed since it was started and what does not answer; leaves the rest alone.
    """
    if docker.is_used(name) or (not _runs_locally(name) and docker.engine_answers()):
        with _locked(name):
            stack = _open(name, docker.is_used(name))
            docker.up(stack, servers_only=servers_only)
            if servers_only:
                postgres.ensure_owner_and_database(stack)
        return stack
    check_platform()
    root = ensure_root_folder()
    with _locked(name):
        stack = _open(name, _runs_locally(name))
        with _stopped_on_failure(stack) as started:
            _start_locally(stack, root, started, servers_only=servers_only)
    say(f"{stack.name}: everything is ready" if started else f"{stack.name}: everything was ready already")
    return stack


def _start_locally(stack: Stack, root: Path, started: list[Component], *, servers_only: bool) -> None:
    def prepare_database() -> None:
        postgres.ensure_owner_and_database(stack)
        if not servers_only:
            _migrate(stack)

    # The database is prepared as soon as it is there: the broker needs some more seconds to boot.
    reconcile.start_all(
        stack,
        [
            replace(each, on_ready=prepare_database) if each.name == "postgres" else each
            for each in catalogue.servers(stack, root)
        ],
        started,
    )
    write_private(stack.env_file, envfile.render(envfile.variables(stack)))
    if not servers_only:
        reconcile.start_all(stack, catalogue.product(stack, root), started)


def _locked(name: str) -> AbstractContextManager[None]:
    return exclusive(stack_folder(name) / "lock", f"starting or stopping the {name} stack")


def _runs_locally(name: str) -> bool:
    base = saved_base(name)
    return base is not None and bool(processes.members(open_stack(name, base)))


def _open(name: str, running: bool) -> Stack:
    """The stack on the ports it already runs on, else on its last ones or the next free ones."""
    requested, saved = os.environ.get("DEV_PORT_BASE"), saved_base(name)
    if running and saved is not None:
        _refuse_other_ports(requested, saved)
        return open_stack(name, saved)
    _check_disk(stack_folder(name))
    return open_stack(name, choose_base(name, requested, saved))


def _refuse_other_ports(requested: str | None, saved: int) -> None:
    if requested is not None and parse_base(requested) != saved:
        raise StackError(
            f"DEV_PORT_BASE={requested}, but the stack already runs on the ports from {saved}.",
            "Stop it first: ./tools/dev down",
        )


def _check_disk(folder: Path) -> None:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < FREE_MB_MIN:
        raise StackError(
            f"Disk nearly full: {free_mb} MB free in {folder}, {FREE_MB_MIN} MB needed.",
            "Free some space; the stack's old data goes with ./tools/dev down && rm -r .dev",
        )


def _migrate(stack: Stack) -> None:
    """Runs the migrations unless this database has had exactly these; the answer is kept beside the data."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in migrations.sources())).hexdigest()
    seen = stack.data("postgres") / "migrated"
    if seen.exists() and seen.read_text() == digest:
        return
    with step("Migrating the database"):
        migrations.migrate(envfile.database_url(stack, OWNER_ROLE))
        migrations.enable_roles(stack)
    seen.write_text(digest)


@contextmanager
def _stopped_on_failure(stack: Stack) -> Iterator[list[Component]]:
    """Hands out the list of what is being started; on any failure, Ctrl-C included, those components are stopped."""
    started: list[Component] = []
    try:
        yield started
    except BaseException:
        with uninterrupted():
            if started:
                say(f"Stopping what was started: {', '.join(component.name for component in started)}")
                reconcile.stop_all(stack, started, HALF_STARTED_PATIENCE_S)
        raise
