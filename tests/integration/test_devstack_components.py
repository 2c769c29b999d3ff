"""How `up` and `down` treat a component in every state it can be in, with a tiny web server as the component."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.polling import eventually
from tools.devstack import processes, reconcile
from tools.devstack.component import Component, http_check
from tools.devstack.ports import Ports
from tools.devstack.problems import StackError
from tools.devstack.stack import Secrets, Stack, exclusive

SERVER = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    for part in ("data", "logs", "run"):
        (tmp_path / part).mkdir()
    stack = Stack("toy", tmp_path, Ports.from_base(30000), Secrets())
    yield stack
    processes.stop(stack, [processes.Target(name, signal.SIGKILL, 5) for name in processes.members(stack)])


@pytest.fixture
def web(free_port: Callable[[], int]) -> Component:
    return web_component(free_port())


def web_component(port: int, *, content: str = "") -> Component:
    return Component(
        name="web",
        command=(*SERVER, str(port)),
        environment={},
        ports={"web": port},
        url=f"http://127.0.0.1:{port}",
        check=lambda: http_check(f"http://127.0.0.1:{port}"),
        content=content,
    )


def script_component(script: str, check: Callable[[], str | None] = lambda: None) -> Component:
    command = (sys.executable, "-c", script)
    return Component(name="script", command=command, environment={}, ports={}, url="", check=check, start_patience_s=1)


def start(stack: Stack, *components: Component) -> list[str]:
    """Brings them up; returns the names of those that had to be started."""
    started: list[Component] = []
    reconcile.start_all(stack, components, started)
    return [component.name for component in started]


def pid_of(stack: Stack, component: Component) -> int:
    main = processes.running(stack, component.name)
    assert main is not None
    return main.pid


def test_what_runs_is_left_alone(stack: Stack, web: Component) -> None:
    """The second `up` is a no-op: nobody loses a connection by it."""
    assert start(stack, web) == ["web"]
    pid = pid_of(stack, web)

    assert start(stack, web) == []
    assert pid_of(stack, web) == pid


def test_a_killed_component_is_started_again(stack: Stack, web: Component) -> None:
    """`up` mends a stack, whatever happened to it."""
    start(stack, web)
    os.kill(pid_of(stack, web), signal.SIGKILL)
    eventually(lambda: processes.running(stack, "web") is None)

    assert start(stack, web) == ["web"]
    assert web.check() is None


def test_a_changed_component_is_started_anew(stack: Stack, web: Component) -> None:
    """After an edit or a pull, `up` runs the code of the checkout."""
    start(stack, web)
    pid = pid_of(stack, web)

    assert start(stack, web_component(web.ports["web"], content="edited")) == ["web"]
    assert pid_of(stack, web) != pid


def test_a_frozen_component_is_started_anew(stack: Stack, web: Component, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that exists and does not answer helps nobody."""
    monkeypatch.setattr(reconcile, "REVIVE_AFTER_S", 0.5)
    start(stack, web)
    os.kill(pid_of(stack, web), signal.SIGSTOP)

    assert start(stack, web) == ["web"]
    assert web.check() is None


def test_a_taken_port_names_the_port_and_who_has_it(stack: Stack, web: Component) -> None:
    """`address already in use` in some log is not an answer."""
    port = web.ports["web"]
    other = subprocess.Popen([*SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: web.check() is None)
        with pytest.raises(StackError) as raised:
            start(stack, web)
    finally:
        other.kill()
        other.wait()

    assert f"Port {port} (web) is taken by python" in raised.value.message
    assert f"(pid {other.pid})" in raised.value.message
    assert "DEV_PORT_BASE" in raised.value.way_out


def test_a_component_that_ends_at_once_shows_its_last_words(stack: Stack) -> None:
    """The reason is in the log; the user should not have to look for the log."""
    dying = replace(script_component("raise SystemExit('no such database')", lambda: "not there"), start_patience_s=30)

    with pytest.raises(StackError, match=r"(?s)ended while starting.*no such database") as raised:
        start(stack, dying)
    assert raised.value.way_out.endswith("./tools/dev logs script")


def test_a_component_that_never_answers_is_given_up(stack: Stack) -> None:
    """`up` ends in any case."""
    silent = script_component("import time; time.sleep(60)", lambda: "HTTP 503: database: away")

    with pytest.raises(StackError, match=r"not ready after 1 s .*database: away"):
        start(stack, silent)


def test_what_others_need_is_ready_first(stack: Stack, web: Component) -> None:
    """A service that starts before its database fills the log with errors."""
    seen = []
    follower = Component(
        name="follower",
        command=(sys.executable, "-c", "import time; time.sleep(60)"),
        environment={},
        ports={},
        url="",
        check=lambda: None,
        prepare=lambda: seen.append(web.check()),
        needs=("web",),
    )

    start(stack, follower, web)

    assert seen == [None]


def test_stopping_leaves_no_process_in_whatever_session(stack: Stack) -> None:
    """PostgreSQL's and RabbitMQ's children have sessions of their own and may outlive a killed parent."""
    script = (
        "import signal, subprocess, sys, time\n"
        "child = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'\n"
        "subprocess.Popen([sys.executable, '-c', child], start_new_session=True)\n"
        "time.sleep(60)"
    )
    family = script_component(script)
    start(stack, family)
    eventually(lambda: len(processes.members(stack)["script"]) == 2)
    os.kill(pid_of(stack, family), signal.SIGKILL)

    began = time.monotonic()
    reconcile.stop_all(stack, [family], 0.5)

    assert processes.members(stack) == {}
    assert time.monotonic() - began < 5


def test_a_frozen_component_is_stopped_in_order(stack: Stack, web: Component) -> None:
    """A stopped process cannot act on a signal; it is woken first instead of waited for."""
    start(stack, web)
    os.kill(pid_of(stack, web), signal.SIGSTOP)

    began = time.monotonic()
    reconcile.stop_all(stack, [web])

    assert processes.members(stack) == {}
    assert time.monotonic() - began < 5


def test_only_one_command_changes_a_stack_at_a_time(tmp_path: Path) -> None:
    """Two `up` at once would each start every server."""
    lock = tmp_path / "lock"
    script = (
        "from pathlib import Path; from tools.devstack.stack import exclusive\n"
        f"with exclusive(Path({str(lock)!r}), 'testing'): Path({str(tmp_path / 'entered')!r}).touch()"
    )
    with exclusive(lock, "testing"):
        other = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        assert other.stderr is not None
        assert other.stderr.readline() == "Waiting: another process is testing …\n"
        assert not (tmp_path / "entered").exists()

    assert other.wait(10) == 0
    assert (tmp_path / "entered").exists()
    other.stderr.close()
