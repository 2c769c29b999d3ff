"""An upgrade as the runbook orders it, from what came before the newest migration: schema first, then services."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.conftest import make_places
from tests.e2e.platform import STREAM, Places, Platform, expected_totals, token
from tests.support import previous_level
from tests.support.gateways import gateway_before
from tests.support.previous_level import PreviousLevel
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq, Servers
from tools.devstack import migrations
from tools.devstack.ports import Ports
from tools.devstack.stack import PROJECT
from tools.replay.ledger import Ledger
from tools.replay.source import Source

SMOKE_ORG = "00000000-0000-4000-8000-5040c0de0002"
# Two installations of eight processes and two smoke tests: 30 s on two idle cores.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> PreviousLevel:
    commit = previous_level.commit_before_newest_migration(PROJECT)
    if commit is None:
        pytest.skip("the history does not reach back to before the newest migration: a full clone is needed")
    return previous_level.install(PROJECT, commit, tmp_path_factory.mktemp("previous") / "level")


@pytest.fixture
def old_places(
    previous: PreviousLevel,
    servers: Servers,
    make_database: Callable[..., Database],
    make_rabbitmq: Callable[[], RabbitMq],
    redis_url: str,
    s3: ObjectStore,
    free_port: Callable[[], int],
) -> Places:
    """A database at the previous level, and settings that its services know."""
    database = make_database(migrated=False)
    done = previous.run(
        "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head", DATABASE_URL=database.owner_dsn
    )
    assert done.returncode == 0, done.stderr
    migrations.enable_roles(servers.stack)
    return make_places(database, make_rabbitmq(), redis_url, s3, free_port)


def test_services_of_the_previous_level_run_on_the_new_schema_and_these_take_over(
    previous: PreviousLevel, old_places: Places, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The schema changes below running services, which do all of their work on it; a rollback needs the same."""
    events = list(Source(anchor=datetime.now(UTC), events=3_000, duration=timedelta(hours=2), seed=5).messages()[1])
    ports = Ports(**{field.name: free_port() for field in fields(Ports)})
    ledger = Ledger(STREAM)

    def publish(platform: Platform, part: int) -> None:
        for message in events[part::3]:
            ledger.add(message)
        platform.publish(events[part::3])

    known = {
        service: {name: value for name, value in variables.items() if previous.knows(name)}
        for service, variables in old_places.environments.items()
    }
    with running(replace(old_places, environments=known), ports, previous.environment) as old:
        publish(old, 0)
        migrations.migrate(old_places.database.owner_dsn)
        old.wait_until_visible(ledger.messages)
        with gateway_before(ports, tmp_path / "old"):
            done = previous.run("-m", "tools.smoke", *smoke_arguments(ports))
        assert done.returncode == 0, done.stdout + done.stderr
        # What its own smoke test published and repeated came through the stream, too.
        received = old.batch_counts()["received"]
        publish(old, 1)
        old.wait_until_visible(received + len(events) // 3)
        assert old.all_totals(ledger) == expected_totals(ledger)
        old.stop_all()

    with running(old_places, ports, Path(sys.prefix)) as new:
        publish(new, 2)
        new.wait_until_visible(received + 2 * len(events) // 3)
        assert new.all_totals(ledger) == expected_totals(ledger)


@contextmanager
def running(places: Places, ports: Ports, prefix: Path) -> Iterator[Platform]:
    """The services of a Python environment where the gateway looks for them."""
    environments = {
        service: {**variables, "HTTP_PORT": str(ports.by_name()[service.replace("-", "_")])}
        for service, variables in places.environments.items()
    }
    with ServiceProcesses(prefix) as processes:
        yield Platform(replace(places, environments=environments), processes, services={}).start_all()


def smoke_arguments(ports: Ports) -> list[str]:
    url = f"http://127.0.0.1:{ports.gateway}"
    return ["--url", url, "--token", token("org:admin", orgs=[SMOKE_ORG]), "--org-id", SMOKE_ORG, "--patience", "120"]
