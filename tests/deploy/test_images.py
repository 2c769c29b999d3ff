"""Every Dockerfile is really built, and what it makes really started, where buildah is."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.e2e.conftest import make_places
from tests.e2e.platform import Places
from tests.support import images
from tests.support.polling import eventually
from tests.support.stack import Database, ObjectStore, RabbitMq
from tools.schema_snapshot import SNAPSHOT, schema_text
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


@pytest.fixture
def places(
    make_database: Callable[..., Database],
    rabbitmq: RabbitMq,
    redis_url: str,
    s3: ObjectStore,
    free_port: Callable[[], int],
) -> Places:
    return make_places(make_database(), rabbitmq, redis_url, s3, free_port)


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
    with psycopg.connect(empty.owner_dsn) as connection:
        assert schema_text(connection) == SNAPSHOT.read_text(encoding="utf-8")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_does_its_work_without_rights_and_stops_when_told(
    built: images.Images, places: Places, service: str
) -> None:
    """As the charts run it: a number for a user, a root file system that nobody writes to, no capabilities."""
    environment = {"HTTP_HOST": "127.0.0.1", **places.environments[service]}
    process = built.start(f"analytics-{service}", environment)
    try:
        eventually(lambda: process.poll() is not None or is_ready(environment["HTTP_PORT"]), patience_s=180)
        assert process.poll() is None, process.stdout and process.stdout.read()
        status = Path(f"/proc/{process.pid}/status").read_text()
        mounts = Path(f"/proc/{process.pid}/mounts").read_text().splitlines()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 0, output
    assert "\nUid:\t65532\t65532\t65532\t65532\nGid:\t65532\t65532\t65532\t65532\n" in status
    assert "\nCapEff:\t0000000000000000\n" in status
    (options,) = {mount.split()[3] for mount in mounts if mount.split()[1] == "/"}
    assert "ro" in options.split(",")


def is_ready(port: str) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/analytics/v1/status/readyz"
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
