"""Brings components from whatever state they are in to ready, and back to nothing."""

import time
from collections.abc import Sequence

from tools.devstack import processes
from tools.devstack.component import Component
from tools.devstack.ports import is_taken, port_taken
from tools.devstack.problems import StackError
from tools.devstack.progress import say
from tools.devstack.stack import Stack

POLL_S = 0.1
# A component that runs but does not answer for this long is frozen or broken: it is started anew.
REVIVE_AFTER_S = 8


def start_all(stack: Stack, components: Sequence[Component], started: list[Component]) -> None:
    """Returns when every component is ready; starts those that are not running, run another version or do not answer.

    Appends to `started` before it starts something, so that an interrupted caller knows what to stop.
    Raises StackError, with the end of the log, when one ends or does not get ready in its time.
    """
    ready: set[str] = set()
    waiting = {component.name: component for component in components}
    since: dict[str, float] = {}
    while waiting:
        for name, component in list(waiting.items()):
            if not ready.issuperset(need for need in component.needs if need in since or need in waiting):
                continue
            if name not in since:
                since[name] = time.monotonic()
                _start_if_needed(stack, component, started)
            reason = component.check()
            if reason is None:
                component.on_ready()
                ready.add(name)
                del waiting[name]
                if component in started:
                    say(f"{name} ready at {component.url}")
            else:
                _still_waiting(stack, component, started, since, reason)
        if waiting:
            time.sleep(POLL_S)


def _start_if_needed(stack: Stack, component: Component, started: list[Component]) -> None:
    current = processes.running(stack, component.name)
    if current and current.fingerprint == component.fingerprint:
        return
    if current:
        say(f"{component.name} changed: starting it anew")
    _start(stack, component, started)


def _start(stack: Stack, component: Component, started: list[Component]) -> None:
    started.append(component)
    processes.stop(stack, [_target(component)])
    for name, port in component.ports.items():
        if is_taken(port):
            raise port_taken(name, port)
    component.prepare()
    processes.start(stack, component.name, component.command, component.environment, component.fingerprint)


def _still_waiting(
    stack: Stack, component: Component, started: list[Component], since: dict[str, float], reason: str
) -> None:
    waited = time.monotonic() - since[component.name]
    if component not in started:
        if waited > REVIVE_AFTER_S:
            say(f"{component.name} runs but does not answer ({reason}): starting it anew")
            since[component.name] = time.monotonic()
            _start(stack, component, started)
        return
    if processes.running(stack, component.name) is None:
        raise _failed(stack, component, "ended while starting")
    if waited > component.start_patience_s:
        raise _failed(stack, component, f"not ready after {component.start_patience_s:.0f} s ({reason})")


def _failed(stack: Stack, component: Component, what: str) -> StackError:
    log = stack.log_file(component.name)
    lines = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
    return StackError(
        f"{component.name} {what}. The end of {log}:\n" + "\n".join(f"  {line}" for line in lines),
        f"Read the whole log: ./tools/dev logs {component.name}",
    )


def stop_all(stack: Stack, components: Sequence[Component], patience_s: float = 60) -> None:
    """Stops in the reverse order of starting: what others need goes last.

    Each has its own time to end in order, but none more than `patience_s`.
    """
    left = list(components)
    while left:
        needed = {need for component in left for need in component.needs}
        wave = [component for component in left if component.name not in needed] or left
        processes.stop(stack, [_target(component, patience_s) for component in wave])
        left = [component for component in left if component not in wave]


def _target(component: Component, patience_s: float = 60) -> processes.Target:
    return processes.Target(component.name, component.stop_signal, min(component.stop_patience_s, patience_s))
