"""`./tools/dev` as people use it: up, status, psql, token, down, killed servers, Ctrl-C. On a stack of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.polling import eventually
from tools.devstack import processes
from tools.devstack.ports import is_taken
from tools.devstack.stack import PROJECT, open_stack, saved_base, stack_folder

NAME = "lifecycle"
ORG = "5b1d9c1e-7f65-4c8e-9a51-0c7b3a2d9f10"
# A first `up` takes 12 s on two idle cores, 30 s on busy ones.
pytestmark = pytest.mark.timeout(400)


def command(*arguments: str) -> list[str]:
    name, *rest = arguments
    return [sys.executable, "-m", "tools.devstack", name, "--stack", NAME, *rest]


def devstack(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=PROJECT, capture_output=True, text=True, check=False)


def status() -> dict[str, dict[str, Any]]:
    components = json.loads(devstack("status", "--json").stdout)["components"]
    return {each["component"]: each for each in components}


def pids() -> dict[str, int]:
    return {name: each["pid"] for name, each in status().items()}


def assert_nothing_is_left() -> None:
    base = saved_base(NAME)
    if base is None:
        return
    stack = open_stack(NAME, base)
    assert processes.members(stack) == {}
    assert str(stack.folder) not in Path("/proc/mounts").read_text()
    assert not [port for port in stack.ports.by_name().values() if is_taken(port)]


@pytest.fixture(autouse=True)
def _stack_of_its_own() -> Iterator[None]:
    """Nothing of an earlier, killed run; nothing left for a later one."""
    _remove()
    yield
    _remove()


def _remove() -> None:
    devstack("down")
    shutil.rmtree(stack_folder(NAME), ignore_errors=True)


def test_a_stack_comes_up_is_mended_and_goes_without_a_trace() -> None:
    """The first five minutes of a newcomer, and what goes wrong in the sixth."""
    first = devstack("up")
    assert first.returncode == 0, first.stderr
    before = pids()
    assert {each["state"] for each in status().values()} == {"ready"}

    second = devstack("up")
    assert "everything was ready already" in second.stderr
    assert pids() == before

    victims = {"redis", "ingest", "gateway"}
    for victim in victims:
        os.kill(before[victim], signal.SIGKILL)
    eventually(lambda: {name for name, each in status().items() if each["state"] == "dead"} == victims)
    mended = devstack("up")
    assert mended.returncode == 0, mended.stderr
    assert {name for name, pid in pids().items() if pid != before[name]} == victims

    counted = devstack("psql", "-Atc", "SELECT count(*) FROM usage_events")
    assert counted.stdout == "0\n", counted.stderr
    token = devstack("token", "--org", ORG).stdout
    assert (token.count("."), len(token.split())) == (2, 1)

    assert devstack("down").returncode == 0
    assert_nothing_is_left()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("redis ready", signal.SIGTERM),
        ("Migrating", signal.SIGINT),
        ("rollup ready", signal.SIGINT),
    ],
)
def test_an_interrupted_up_leaves_nothing_running(moment: str, number: signal.Signals) -> None:
    """Ctrl-C reaches every process of the terminal; `kill` and a closed window reach one."""
    process = subprocess.Popen(command("up"), cwd=PROJECT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    said = ""
    while moment not in said:
        line = process.stderr.readline()
        assert line, f"ended before {moment!r}:\n{said}"
        said += line

    os.killpg(process.pid, number)
    said += process.communicate(timeout=60)[1]

    assert process.returncode == 130, said
    assert_nothing_is_left()


def test_an_up_after_an_interrupted_first_one_works() -> None:
    """A half-made database cluster or broker must not have to be deleted by hand."""
    for moment in ("Creating the database cluster", "epmd ready"):
        test_an_interrupted_up_leaves_nothing_running(moment, signal.SIGINT)

    assert devstack("servers").returncode == 0
