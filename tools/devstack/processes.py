"""Starts, finds and ends the processes of a stack.

A process belongs to a component when its environment carries the component's mark, or when it sees the component's data
folder as its /srv (PostgreSQL and Redis overwrite their environment). So what a killed parent left behind is found
too, and what runs on after somebody deleted the stack's folder.
"""

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tools.devstack.sandbox import DATA_INSIDE
from tools.devstack.stack import Stack, write_private

# Read back from /proc/PID/environ; never exported to a user's shell.
MARK = "ANALYTICS_DEVSTACK_COMPONENT"
KILL_PATIENCE_S = 10
LOG_BYTES_MAX = 20_000_000

# Kept so that Python neither warns about a child that is meant to outlive it nor leaves it a zombie when it ends first.
_started_here: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Running:
    pid: int
    fingerprint: str
    started_at: float


def mark(stack: Stack, component: str) -> str:
    return f"{stack.folder}:{component}"


def start(
    stack: Stack, component: str, command: Sequence[str], environment: Mapping[str, str], fingerprint: str
) -> None:
    """Starts the program in a session of its own, so that it outlives the shell and its Ctrl-C."""
    log = stack.log_file(component)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env={**environment, MARK: mark(stack, component)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=stack.folder,
        )
    record = {"pid": process.pid, "ticks": _start_ticks(process.pid), "fingerprint": fingerprint, "at": time.time()}
    write_private(stack.pid_file(component), json.dumps(record))
    _started_here.append(process)


def running(stack: Stack, component: str) -> Running | None:
    """The component's main process; None when it never started, has ended, or its pid is another's now."""
    try:
        record = json.loads(stack.pid_file(component).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    pid = int(record["pid"])
    if record["ticks"] is None or _start_ticks(pid) != record["ticks"]:
        return None
    return Running(pid, record["fingerprint"], record["at"])


@dataclass(frozen=True)
class Target:
    """A component to stop: the signal that makes it end in order, and how long that may take before it is killed."""

    component: str
    signal: signal.Signals
    patience_s: float


def stop(stack: Stack, targets: Sequence[Target]) -> None:
    """Ends these components, all at once; afterwards none of their processes is left."""
    names = {target.component for target in targets}
    found = members(stack)
    for target in targets:
        main = running(stack, target.component)
        # A frozen (SIGSTOP) process must run to act on the signal.
        _send([main.pid] if main else found.get(target.component, ()), target.signal, signal.SIGCONT)
    _wait_until_gone(stack, names, max((target.patience_s for target in targets), default=0))
    deadline = time.monotonic() + KILL_PATIENCE_S
    while (left := _pids_of(stack, names)) and time.monotonic() < deadline:
        _send(left, signal.SIGKILL)
        _wait_until_gone(stack, names, 0.5)
    for name in names:
        stack.pid_file(name).unlink(missing_ok=True)


def members(stack: Stack) -> dict[str, set[int]]:
    """Every live process of the stack by component, whoever its parent is now."""
    found: dict[str, set[int]] = {}
    folders = {_identity(folder): folder.name for folder in (stack.folder / "data").iterdir()}
    prefix = f"{MARK}={stack.folder}:".encode()
    for pid in _live_pids():
        component = (
            _marked_component(pid, prefix)
            or folders.get(_identity(Path(f"/proc/{pid}/root{DATA_INSIDE}")))
            or _component_of_deleted_folder(pid, stack.folder)
        )
        if component and pid != os.getpid():
            found.setdefault(component, set()).add(pid)
    return found


def _pids_of(stack: Stack, components: set[str]) -> set[int]:
    return {pid for component, pids in members(stack).items() if component in components for pid in pids}


def _wait_until_gone(stack: Stack, components: set[str], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        _reap()
        if not _pids_of(stack, components) or time.monotonic() >= deadline:
            return
        time.sleep(0.05)


def _marked_component(pid: int, prefix: bytes) -> str | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((value.removeprefix(prefix).decode() for value in variables if value.startswith(prefix)), None)


def _component_of_deleted_folder(pid: int, stack_folder: Path) -> str | None:
    """The component whose deleted data folder is the process's /srv, by the path that the kernel remembers.

    That path begins where the file system does, hence the comparison of its end and of the device.
    """
    try:
        mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return None
    device = stack_folder.stat().st_dev
    for _, _, number, origin, place, *_ in map(str.split, mounts):
        folder, deleted, _ = origin.partition("//deleted")
        data, _, component = folder.rpartition("/")
        ours = deleted and place == DATA_INSIDE and number == f"{os.major(device)}:{os.minor(device)}"
        if ours and data.endswith("/data") and str(stack_folder / "data").endswith(data):
            return component
    return None


def _reap() -> None:
    """Collects those of our own starts that have ended; they would stay visible as zombies otherwise."""
    for child in [child for child in _started_here if child.poll() is not None]:
        _started_here.remove(child)


def _send(pids: Iterable[int], *numbers: signal.Signals) -> None:
    for pid, number in itertools.product(pids, numbers):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _live_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone or a zombie. Tells pids apart."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    after_name = stat.rpartition(")")[2].split()
    return None if after_name[0] in {"Z", "X"} else int(after_name[19])


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        info = folder.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino
