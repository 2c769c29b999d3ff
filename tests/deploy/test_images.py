"""Every Dockerfile is really built, and what it makes really started, where buildah is."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import images
from tests.support.polling import eventually
from tests.support.stack import Database, RabbitMq
from tools.settings_docs import SERVICES

# Five images, each with its own locked environment: two minutes on two idle cores.
pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        images.missing_program() is not None or os.geteuid() != 0,
        reason="needs root and Debian's buildah and mmdebstrap",
    ),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[images.Images]:
    folder = tmp_path_factory.mktemp("images")
    store = images.Images(folder)
    store.make_base()
    try:
        for service in SERVICES:
            store.build(f"services/{service}/Dockerfile", f"analytics-{service}")
        store.build("migrations/Dockerfile", "analytics-migrations")
        yield store
    finally:
        store.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", [*(f"analytics-{service}" for service in SERVICES), "analytics-migrations"])
def test_an_image_holds_what_it_runs_and_no_tools(
    built: images.Images, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A numeric user without rights, no compiler and no package manager of ours, labels that say what it is."""
    assert built.user(name) == "65532:65532"
    assert built.has_program(name, "uv", "uvx", "gcc", "cc") == []
    assert built.labels(name)["org.opencontainers.image.title"] == name
    size = built.megabytes(name)
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {size:.0f} MB beside its base image\n")
    assert size < 400


@pytest.mark.parametrize("service", SERVICES)
def test_a_refused_start_says_why(built: images.Images, service: str) -> None:
    """Without its settings the container ends at once and names them."""
    process = built.start(f"analytics-{service}", {"ENVIRONMENT": "test"})
    output, _ = process.communicate(timeout=120)

    assert process.returncode != 0
    assert "DATABASE_URL" in output


def test_the_migrations_bring_an_empty_database_to_head(
    built: images.Images, make_database: Callable[..., Database]
) -> None:
    empty = make_database(migrated=False)
    process = built.start("analytics-migrations", {"DATABASE_URL": empty.owner_dsn}, ["upgrade", "head"])
    output, _ = process.communicate(timeout=180)

    assert process.returncode == 0, output


def test_a_service_gets_ready_and_stops_when_told(
    built: images.Images, make_database: Callable[..., Database], rabbitmq: RabbitMq, free_port: Callable[[], int]
) -> None:
    port = free_port()
    environment = {
        "ENVIRONMENT": "test",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "DATABASE_URL": make_database().dsn("analytics_rollup"),
        "RABBITMQ_URL": rabbitmq.amqp_url,
    }
    process = built.start("analytics-rollup", environment)
    try:
        eventually(lambda: is_ready(port), patience_s=120)
        for pid in processes_named("analytics-rollup", port):
            os.kill(pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 0, output


def is_ready(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/analytics/v1/status/readyz"
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def processes_named(script: str, port: int) -> list[int]:
    """The container's process: the one with this script that listens with this port in its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if script.encode() in command and b"buildah" not in command and f"HTTP_PORT={port}".encode() in environment:
            found.append(int(folder.name))
    return found
