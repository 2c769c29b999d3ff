"""`up`: from whatever is there to everything ready; whatever it started is stopped again when it cannot finish."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tools.devstack import catalogue, envfile, postgres, reconcile
from tools.devstack.component import Component
from tools.devstack.ports import choose_base
from tools.devstack.problems import Interrupted
from tools.devstack.progress import say
from tools.devstack.rootfolder import ensure_root_folder
from tools.devstack.stack import Stack, exclusive, open_stack, saved_base, stack_folder, write_private


def up_servers(name: str) -> Stack:
    """Database, broker, cache and object store of stack `name` run and answer; its env file is written."""
    root = ensure_root_folder()
    with exclusive(stack_folder(name) / "lock", f"starting or stopping the {name} stack"):
        stack = _open(name)
        with _stopped_on_failure(stack) as started:
            reconcile.start_all(stack, catalogue.servers(stack, root), started)
            postgres.ensure_owner_and_database(stack)
            write_private(stack.env_file, envfile.render(envfile.variables(stack)))
    return stack


def _open(name: str) -> Stack:
    base = saved_base(name)
    if base is None:
        base = choose_base(name, os.environ.get("DEV_PORT_BASE"))
    return open_stack(name, base)


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
                reconcile.stop_all(stack, started)
        raise


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_on_signals() -> None:
    """From now on a request to stop raises Interrupted wherever the command is, once."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for each in SIGNALS:
        signal.signal(each, interrupt)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Cleaning up is not cut short by a second Ctrl-C."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
