"""What the local stack decides before it touches anything: ports, mirrors, messages, tokens, environment files."""

import json
import os
import platform
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import jwt
import pytest

from tools.devstack import dev_token, docker, envfile, processes, rootfolder
from tools.devstack.__main__ import main
from tools.devstack.ports import BLOCK, CANDIDATE_BLOCKS, FIRST_BASES, Ports, parse_base
from tools.devstack.problems import StackError
from tools.devstack.stack import Secrets, Stack, write_private

ORG = "5b1d9c1e-7f65-4c8e-9a51-0c7b3a2d9f10"


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack("unit", tmp_path, Ports.from_base(30000), Secrets())


def test_the_ports_of_two_stacks_never_meet() -> None:
    """A test run beside a running dev stack is the normal case."""
    blocks = {
        name: {
            port
            for index in range(CANDIDATE_BLOCKS)
            for port in Ports.from_base(first + index * BLOCK).by_name().values()
        }
        for name, first in FIRST_BASES.items()
    }

    assert not blocks["dev"] & blocks["test"]
    assert len(set(Ports.from_base(30000).by_name().values())) <= BLOCK


@pytest.mark.parametrize("text", ["", "80", "abc", "65530", "-1", "30000 "])
def test_a_useless_port_base_is_refused_with_the_range(text: str) -> None:
    """A wrong number must not become a random error of some server."""
    with pytest.raises(StackError, match="from 1024 to 65515"):
        parse_base(text)


def test_an_env_file_means_the_same_to_a_shell_and_to_us(stack: Stack) -> None:
    """People source it, tools parse it."""
    write_private(stack.folder / "env", envfile.render(envfile.variables(stack)))

    sourced = subprocess.run(
        ["sh", "-c", "set -a; . ./env; env"], cwd=stack.folder, env={}, capture_output=True, text=True, check=True
    )
    seen = dict(line.split("=", 1) for line in sourced.stdout.splitlines())

    assert envfile.parse(stack.folder / "env") == envfile.variables(stack)
    assert envfile.variables(stack).items() <= seen.items()
    assert (stack.folder / "env").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sources.list", "deb http://ftp.de.debian.org/debian bookworm main\n", "http://ftp.de.debian.org/debian"),
        ("sources.list", "deb [arch=amd64] https://mirror.test/debian/ bookworm main\n", "https://mirror.test/debian"),
        ("sources.list.d/debian.sources", "Types: deb\nURIs: http://mirror.test/debian\n", "http://mirror.test/debian"),
        # Security updates have another layout, other vendors no Debian at all.
        ("sources.list", "deb http://mirror.test/debian-security bookworm-security main\n", rootfolder.DEFAULT_MIRROR),
        ("sources.list", "deb http://archive.ubuntu.com/ubuntu noble main\n", rootfolder.DEFAULT_MIRROR),
        ("sources.list", "# deb http://off.test/debian bookworm main\n", rootfolder.DEFAULT_MIRROR),
    ],
)
def test_the_mirror_is_the_one_this_machine_uses(tmp_path: Path, name: str, text: str, expected: str) -> None:
    """A closed network reaches its own mirror only."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(text)

    assert rootfolder.mirror(tmp_path) == expected


@pytest.mark.parametrize(
    ("system", "user", "words"),
    [
        ("Darwin", 0, ("Debian or Ubuntu", "docs.docker.com")),
        ("Linux", 1000, ("root", "sudo ./tools/dev up", "docs.docker.com")),
    ],
)
def test_a_machine_that_cannot_run_it_learns_the_way_out(
    monkeypatch: pytest.MonkeyPatch, system: str, user: int, words: tuple[str, ...]
) -> None:
    """The first minute decides whether somebody stays."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(os, "geteuid", lambda: user)

    with pytest.raises(StackError) as raised:
        rootfolder.check_platform()

    assert all(word in str(raised.value) for word in words)


def test_a_container_without_rights_learns_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root in a container is often not allowed to mount; `unshare failed` in a log would explain nothing."""
    for name, code in (("apt-get", 0), ("unshare", 1)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(StackError, match="--privileged"):
        rootfolder.check_platform()


def test_a_full_disk_is_noticed_before_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an installation and an error of dpkg would explain nothing."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5_000_000))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(StackError, match="5 MB free") as raised:
        rootfolder.ensure_root_folder()

    assert "XDG_CACHE_HOME" in raised.value.way_out


def test_a_token_says_what_was_asked_for(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's curl lines work with it."""
    file = stack.folder / "env"
    write_private(file, envfile.render(envfile.variables(stack)))
    monkeypatch.setattr(dev_token, "env_file", lambda _: file)

    def claims(**wanted: object) -> dict[str, object]:
        asked = {"subject": "me", "orgs": [ORG], "roles": [], "admin": False, "ttl_s": 60} | wanted
        token = dev_token.mint("unit", **asked)  # type: ignore[arg-type]
        return jwt.decode(token, stack.secrets.jwt_secret, algorithms=["HS256"])

    assert claims() == claims() | {"sub": "me", "orgs": [ORG], "roles": ["org:admin"]}
    assert claims(roles=["analytics:usage:read"])["roles"] == ["analytics:usage:read"]
    assert claims(admin=True, orgs=[]) == claims(admin=True, orgs=[]) | {"roles": ["admin"], "orgs": []}
    assert claims(ttl_s=90)["exp"] - claims(ttl_s=90)["iat"] == 90  # type: ignore[operator]
    with pytest.raises(StackError, match="not a UUID"):
        claims(orgs=["acme"])
    with pytest.raises(StackError, match="--role foo: no such role") as raised:
        claims(roles=["foo"])
    assert "analytics:usage:read" in raised.value.way_out


def test_a_pid_that_another_program_has_now_is_not_ours(stack: Stack) -> None:
    """After a restart of the machine, `down` must not kill a stranger."""
    (stack.folder / "run").mkdir()
    record = {"pid": os.getpid(), "ticks": 1, "fingerprint": "f", "at": 0}
    stack.pid_file("redis").write_text(json.dumps(record))

    assert processes.running(stack, "redis") is None


@pytest.mark.parametrize("text", ["", "torn {"])
def test_a_torn_pid_file_means_that_nothing_runs(stack: Stack, text: str) -> None:
    """A full disk may leave one."""
    (stack.folder / "run").mkdir()
    stack.pid_file("redis").write_text(text)

    assert processes.running(stack, "redis") is None


def test_compose_containers_are_told_like_local_components(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: Stack
) -> None:
    """`status --json` has one shape, and Compose prints a list or lines depending on its version."""
    monkeypatch.setattr(docker, "_compose_env", lambda _: write_and_return(tmp_path / "compose.env"))
    ready = '{"Service":"redis","State":"running","Health":"healthy","Publishers":[{"PublishedPort":24606}]}'
    sick = '{"Service":"ingest","State":"running","Health":"unhealthy","Publishers":null}'
    done = '{"Service":"migrations","State":"exited","ExitCode":0,"Health":""}'
    dead = '{"Service":"export","State":"exited","ExitCode":1,"Health":"","Status":"Exited (1) 2 minutes ago"}'

    for text in (f"[{ready},{sick},{done},{dead}]", f"{ready}\n{sick}\n{done}\n{dead}\n"):
        monkeypatch.setattr(docker, "_compose", lambda *_, text=text, **__: text)
        states = {each.component: (each.state, each.health) for each in docker.statuses("dev")}

        assert states == {
            "redis": ("ready", "healthy"),
            "ingest": ("unwell", "unhealthy"),
            "migrations": ("ready", "done"),
            "export": ("dead", "Exited (1) 2 minutes ago"),
        }
        assert docker.statuses("dev")[0].url == "127.0.0.1:24606"


def write_and_return(file: Path) -> Path:
    file.touch()
    return file


def test_without_docker_the_local_stack_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A client without an engine, and no client at all, are the same to the user."""
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not docker.engine_answers()

    (tmp_path / "docker").unlink()
    assert not docker.engine_answers()


def test_with_an_engine_docker_is_used_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compose is what a user with Docker expects."""
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert docker.engine_answers()

    monkeypatch.setenv("DEV_STACK_ENGINE", "local")
    assert not docker.engine_answers()


def test_a_shell_variable_does_not_override_the_stacks_secrets(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose prefers the shell's variables to the file; a REDIS_PASSWORD of another project would lock us out."""
    write_private(stack.folder / "compose.env", envfile.render(docker.variables(stack)))
    monkeypatch.setattr(docker, "_compose_env", lambda _: stack.folder / "compose.env")
    monkeypatch.setenv("REDIS_PASSWORD", "of another project")

    assert "REDIS_PASSWORD" not in docker._environment("unit")
    assert "PATH" in docker._environment("unit")


def test_an_error_is_said_with_its_way_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback for something that the user can mend."""
    monkeypatch.setattr("tools.devstack.__main__.raise_on_signals", lambda: None)

    assert main(["logs", "--stack", "never-started"]) == 1

    said = capsys.readouterr().err
    assert "error: The never-started stack has no logs.\nStart it: ./tools/dev up" in said


def test_secrets_differ_and_fit_urls(stack: Stack) -> None:
    """They are pasted into URLs, shells and server configurations without quoting."""
    values = list(vars(stack.secrets).values())

    assert len(set(values)) == len(values)
    assert all(value.isalnum() and len(value) >= 32 for value in values)
    assert replace(stack.secrets) == stack.secrets
