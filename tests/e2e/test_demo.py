"""`./tools/dev demo` as a newcomer meets it: it ends well, its commands work as printed, Ctrl-C leaves nothing."""

import json
import os
import re
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
from tools.devstack.stack import PROJECT, open_stack, saved_base, stack_folder

NAME = "demonstration"
DEMO = [sys.executable, "-u", "-m", "tools.demo", "--stack", NAME]
# A first `up` takes 17 s on two idle cores and the demo 11 s; both take three times as long on busy ones.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(autouse=True)
def _stack_of_its_own() -> Iterator[None]:
    """Nothing of an earlier, killed run; nothing left for a later one."""
    _remove()
    yield
    _remove()


def _remove() -> None:
    down = [sys.executable, "-m", "tools.devstack", "down", "--stack", NAME]
    subprocess.run(down, cwd=PROJECT, capture_output=True, check=False, timeout=120)
    shutil.rmtree(stack_folder(NAME), ignore_errors=True)


def test_every_number_matches_and_the_printed_commands_work(tmp_path: Path) -> None:
    """The demo's claim is equality; its promise is that the reader can go on by copying lines."""
    demo = subprocess.run([*DEMO, "--events", "5000"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "✘" not in demo.stdout
    assert "the file's sums are those of the ledger" in demo.stdout

    commands = [line for line in demo.stdout.splitlines() if line.startswith(("TOKEN=", "curl "))]
    assert len(commands) == 8
    for position, line in enumerate(commands[1:], start=1):
        # The token's line needs the environment that ./tools/dev prepares; its arguments are run here as they are.
        token = commands[0].replace("./tools/dev", f"{sys.executable} -m tools.devstack")
        file = tmp_path / f"answer-{position}"
        script = f"{token}\n{line.replace('usage.csv', str(file))}"
        ran = subprocess.run(["sh", "-euc", script], cwd=PROJECT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        if "usage.csv" in line:
            assert file.read_text().startswith("bucket_start,")
        else:
            answer = json.loads(ran.stdout)
            assert "title" not in answer, answer

    assert_smoke_says_what_is_broken()
    assert_the_quickstart_works()


def assert_smoke_says_what_is_broken() -> None:
    """Through the gateway, with a token of one organisation: what an operator runs after a deployment."""
    whole = smoke()
    assert whole["passed"], whole
    assert len(whole["checks"]) >= 11

    stack = open_stack(NAME, saved_base(NAME) or 0)
    for service in ("rollup", "export"):
        running = processes.running(stack, service)
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        broken = smoke("--patience", "2")
        assert service in {check["service"] for check in broken["checks"]}, broken


def smoke(*arguments: str) -> dict[str, Any]:
    """The results of `./tools/dev smoke`, whose exit code has to fit them."""
    command = [sys.executable, "-m", "tools.smoke", "--stack", NAME, "--json", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    results: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if results["passed"] else 1), done.stderr
    return results


def assert_the_quickstart_works() -> None:
    """Every command of the page, as one script: what is not running any more is started by its first one."""
    page = (PROJECT / "docs" / "quickstart.md").read_text()
    script = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    script = script.replace(". .dev/env", f". .dev/{NAME}/env")
    script = script.replace("./tools/dev smoke", f"{sys.executable} -m tools.smoke --stack {NAME}")
    script = re.sub(r"\./tools/dev (\w+)", rf"{sys.executable} -m tools.devstack \1 --stack {NAME}", script)
    ran = subprocess.run(["sh", "-euc", script], cwd=PROJECT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"invocations":1' in ran.stdout
    assert "11 of 11 checks passed" in ran.stdout
    assert "Every bucket is equal to a recount." in ran.stdout
    assert processes.members(open_stack(NAME, saved_base(NAME) or 0)) == {}


def test_ctrl_c_stops_what_the_demo_started(tmp_path: Path) -> None:
    """A newcomer who has seen enough must not have to hunt processes."""
    log = tmp_path / "log"
    with log.open("w") as output:
        demo = subprocess.Popen([*DEMO, "--rate", "500"], cwd=PROJECT, stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: "A day of made-up calls" in log.read_text() or demo.poll() is not None, patience_s=150)
        demo.send_signal(signal.SIGINT)
        code = demo.wait(timeout=120)
    finally:
        demo.kill()
        demo.wait()
    base = saved_base(NAME)

    assert code == 130, log.read_text()
    assert base is not None
    assert processes.members(open_stack(NAME, base)) == {}
