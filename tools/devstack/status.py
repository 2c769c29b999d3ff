"""`status`: what runs, where it listens and whether it is well."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from tools.devstack import catalogue, docker, processes
from tools.devstack.component import Component
from tools.devstack.rootfolder import root_folder
from tools.devstack.stack import Stack, open_stack, saved_base
from tools.devstack.statuses import ComponentStatus, State


def collect(name: str) -> list[ComponentStatus]:
    """The state of every component of stack `name`, all asked at the same time; empty when it was never started."""
    if docker.is_used(name):
        return docker.statuses(name)
    base = saved_base(name)
    if base is None:
        return []
    stack = open_stack(name, base)
    components = catalogue.everything(stack, root_folder())
    with ThreadPoolExecutor(len(components)) as pool:
        return list(pool.map(lambda component: _status(stack, component), components))


def _status(stack: Stack, component: Component) -> ComponentStatus:
    main = processes.running(stack, component.name)
    if main:
        reason = component.check()
        state: State = "ready" if reason is None else "unwell"
        health = reason or "ok"
    else:
        died = stack.pid_file(component.name).exists()
        state, health = ("dead", "ended by itself or was killed") if died else ("stopped", "not started")
    return ComponentStatus(
        component=component.name,
        state=state,
        health=health,
        pid=main.pid if main else None,
        uptime_s=int(time.time() - main.started_at) if main else None,
        ports=dict(component.ports),
        url=component.url,
        outdated=main is not None and main.fingerprint != component.fingerprint,
    )


def as_json(name: str, statuses: Sequence[ComponentStatus]) -> str:
    """One object for programs: is everything ready, and each component's state."""
    ready = bool(statuses) and all(status.state == "ready" for status in statuses)
    return json.dumps({"stack": name, "ready": ready, "components": [asdict(status) for status in statuses]}, indent=2)


def print_table(name: str, statuses: Sequence[ComponentStatus]) -> None:
    """The same for people, and what to do when something is not well."""
    # Imported here: only this command draws, and rich takes longer to import than the others take to run.
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not statuses:
        console.print(f"The {name} stack was never started here. Start it: ./tools/dev up")
        return
    table = Table(title=f"Stack {name}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("component", "state", "pid", "up", "url"):
        table.add_column(heading, no_wrap=True)
    colours = {"ready": "green", "unwell": "yellow", "dead": "red", "stopped": "dim"}
    for status in statuses:
        state = f"[{colours[status.state]}]{status.state}[/]"
        table.add_row(status.component, state, str(status.pid or ""), _duration(status.uptime_s), status.url)
    console.print(table)
    for status in statuses:
        if status.state in {"unwell", "dead"}:
            console.print(f"{status.component}: {status.health}", markup=False, soft_wrap=True)
        if status.outdated:
            console.print(f"{status.component}: older than the checkout")
    if any(status.state != "ready" or status.outdated for status in statuses):
        console.print("Start or mend what is not ready: ./tools/dev up")


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
