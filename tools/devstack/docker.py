"""The same stack on a Docker engine: docker-compose.yml with this stack's ports and secrets."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.devstack import envfile
from tools.devstack.interruption import uninterrupted
from tools.devstack.problems import StackError
from tools.devstack.progress import say, step
from tools.devstack.stack import PROJECT, Stack, stack_folder, write_private
from tools.devstack.statuses import ComponentStatus, State

SERVERS = ("postgres", "rabbitmq", "redis", "s3")
FILES = ("docker-compose.yml", "tools/devstack/compose/host-ports.yaml")
PROFILES = ("infra", "app")
# Docker's command line answers in 0.1 s with an engine; a dead remote one must not hold `up` for long.
ANSWER_PATIENCE_S = 10
# Building the images and pulling the servers' over a slow line.
READY_PATIENCE_S = 1200


def is_used(name: str) -> bool:
    """Whether stack `name` was last brought up with Docker and not taken down since."""
    return _marker(name).exists()


def engine_answers() -> bool:
    """True when a Docker engine can be used from here. DEV_STACK_ENGINE=local says no without asking."""
    if os.environ.get("DEV_STACK_ENGINE") == "local" or not shutil.which("docker"):
        return False
    try:
        done = subprocess.run(
            ["docker", "info"], capture_output=True, check=False, timeout=ANSWER_PATIENCE_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def variables(stack: Stack) -> dict[str, str]:
    """What docker-compose.yml takes from its environment: the published ports and the secrets."""
    secrets = stack.secrets
    return {
        "STACK_NAME": stack.name,
        **{f"{name.upper()}_PORT": str(port) for name, port in stack.ports.by_name().items()},
        "SUPERUSER_PASSWORD": secrets.superuser_password,
        "OWNER_PASSWORD": secrets.owner_password,
        "ROLE_PASSWORD": secrets.role_password,
        "REDIS_PASSWORD": secrets.redis_password,
        "RABBITMQ_PASSWORD": secrets.rabbitmq_password,
        "S3_ACCESS_KEY": secrets.s3_access_key,
        "S3_SECRET_KEY": secrets.s3_secret_key,
        "GRAFANA_PASSWORD": secrets.owner_password,
        "AUTH_JWT_SECRET": secrets.jwt_secret,
        "ACTOR_SIGNATURE_SECRET": secrets.actor_signature_secret,
    }


def up(stack: Stack, *, servers_only: bool) -> None:
    """Builds, starts and waits until everything is healthy; stops what it started when it cannot finish."""
    _require_compose()
    write_private(_compose_env(stack.name), envfile.render(variables(stack)))
    write_private(stack.env_file, envfile.render(envfile.variables(stack)))
    before = {each["Service"] for each in containers(stack.name) if each["State"] == "running"}
    _marker(stack.name).touch()
    try:
        with step(f"Starting the {stack.name} stack with Docker Compose"):
            wait = ["--detach", "--build", "--wait", "--wait-timeout", str(READY_PATIENCE_S)]
            _compose(stack.name, "up", *wait, *(SERVERS if servers_only else ()))
    except BaseException:
        with uninterrupted():
            say("Stopping what was started")
            _stop_new(stack.name, before)
        raise


def _stop_new(name: str, before: set[str]) -> None:
    if not before:
        down(name)
        return
    new = [each["Service"] for each in containers(name) if each["Service"] not in before]
    if new:
        _compose(name, "stop", *new)


def down(name: str) -> None:
    """Removes the containers; the volumes with the data stay."""
    _compose(name, "down", "--remove-orphans")
    _marker(name).unlink(missing_ok=True)


def containers(name: str) -> list[dict[str, Any]]:
    """What `docker compose ps` tells of each container; a list or one object a line, depending on its version."""
    if not _compose_env(name).exists():
        return []
    text = _compose(name, "ps", "--all", "--format", "json", capture=True).strip()
    if text.startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines()]


def statuses(name: str) -> list[ComponentStatus]:
    return [_status(each) for each in containers(name)]


def _status(container: dict[str, Any]) -> ComponentStatus:
    running, health = container["State"] == "running", container.get("Health") or "ok"
    finished = container["State"] == "exited" and container.get("ExitCode") == 0
    state: State = "ready" if (running and health in {"ok", "healthy"}) or finished else "unwell" if running else "dead"
    published = {int(each["PublishedPort"]) for each in container.get("Publishers") or [] if each["PublishedPort"]}
    return ComponentStatus(
        component=container["Service"],
        state=state,
        health="done" if finished else health if running else container.get("Status", container["State"]),
        pid=None,
        uptime_s=None,
        ports={str(port): port for port in sorted(published)},
        url=" ".join(f"127.0.0.1:{port}" for port in sorted(published)),
        outdated=False,
    )


def logs(name: str, component: str | None, *, follow: bool, lines: int) -> None:
    """Replaces this process by `docker compose logs`."""
    arguments = ["logs", "--tail", str(lines), *(["--follow"] if follow else []), *([component] if component else [])]
    command = _command(name, *arguments)
    os.execvpe(command[0], command, _environment(name))


def psql(name: str, arguments: Sequence[str]) -> None:
    """Replaces this process by psql in the database's container."""
    command = _command(name, "exec", "postgres", "psql", "-U", "postgres", "-d", "analytics", *arguments)
    os.execvpe(command[0], command, _environment(name))


def _require_compose() -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        raise StackError(
            "The Docker engine answers, but `docker compose` is missing.",
            "Install the plugin (https://docs.docker.com/compose/install/), or run without Docker as root on Debian"
            " or Ubuntu: DEV_STACK_ENGINE=local ./tools/dev up",
        )


def _compose(name: str, *arguments: str, capture: bool = False) -> str:
    """Runs `docker compose`; raises StackError when it fails, after what it said itself."""
    done = subprocess.run(
        _command(name, *arguments),
        env=_environment(name),
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise StackError(
            f"docker compose {arguments[0]} failed (see above).", "What the containers say: ./tools/dev logs"
        )
    return done.stdout or ""


def _command(name: str, *arguments: str) -> list[str]:
    where = ["--project-name", f"analytics-{name}", "--project-directory", str(PROJECT)]
    where += [part for file in FILES for part in ("--file", str(PROJECT / file))]
    where += [part for profile in PROFILES for part in ("--profile", profile)]
    return ["docker", "compose", *where, "--env-file", str(_compose_env(name)), *arguments]


def _environment(name: str) -> dict[str, str]:
    """The caller's, without what the stack's own file says: Compose would prefer a REDIS_PASSWORD of the shell."""
    ours = envfile.parse(_compose_env(name))
    return {key: value for key, value in os.environ.items() if key not in ours}


def _compose_env(name: str) -> Path:
    return stack_folder(name) / "compose.env"


def _marker(name: str) -> Path:
    return stack_folder(name) / "uses-docker"
