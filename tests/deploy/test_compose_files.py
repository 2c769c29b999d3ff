"""docker-compose.yml and its files against the Compose specification, as an engine would read them."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support import programs
from tools.devstack import docker
from tools.devstack.ports import Ports
from tools.devstack.stack import PROJECT, Secrets, Stack

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def compose_check() -> Path:
    found = programs.compose_check()
    if found is None:
        pytest.skip("without Go the checker of the Compose specification cannot be built")
    return found


def test_the_files_follow_the_specification(compose_check: Path, tmp_path: Path) -> None:
    """Unknown keys, wrong types, dependencies on nothing: an engine would refuse them, and none runs here."""
    known = docker.variables(Stack("unit", tmp_path, Ports.from_base(30000), Secrets()))
    for file in docker.FILES:
        text = VARIABLE.sub(lambda match: known.get(match["name"], match["rest"] or ""), (PROJECT / file).read_text())
        (tmp_path / Path(file).name).write_text(text)
    names = [Path(file).name for file in docker.FILES]

    done = subprocess.run([compose_check, *names], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "host_ip: 127.0.0.1" in done.stdout


def test_what_is_mounted_exists() -> None:
    """Docker makes a folder of a missing file, and the container fails strangely."""
    mounts = re.findall(r"- ?[\"']?(\./[^:\s\"']+):", (PROJECT / "docker-compose.yml").read_text())
    mounts += re.findall(r'\["(\./[^:$]+):', (PROJECT / "docker-compose.yml").read_text())

    assert len(mounts) >= 8
    assert [mount for mount in mounts if "$" not in mount and not (PROJECT / mount).exists()] == []
