"""The servers die, not the services: PostgreSQL at once, RabbitMQ by SIGKILL, Redis for good."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.crash.ledger import Ledger
from tests.crash.stage import CrashStage
from tests.e2e.platform import token
from tests.support import stack_places
from tests.support.callers import JWT_SECRET
from tests.support.processes import ServiceProcesses
from tests.support.stack import Servers
from tools.devstack import envfile, postgres, processes, rabbitmq, reconcile
from tools.devstack.component import Component
from tools.devstack.ports import choose_base
from tools.devstack.rootfolder import ensure_root_folder
from tools.devstack.stack import exclusive, open_stack, saved_base, stack_folder

STACK = "crash"
PIECE = 500

pytestmark = pytest.mark.timeout(3600)


class OwnServers:
    """A database and a broker that belong to this test alone, and that it may break."""

    def __init__(self) -> None:
        self.stack = open_stack(STACK, choose_base(STACK, None, saved_base(STACK)))
        root = ensure_root_folder()
        self._components = [
            rabbitmq.epmd(self.stack, root),
            rabbitmq.component(self.stack, root),
            postgres.component(self.stack, root),
        ]
        self.start()
        postgres.ensure_owner_and_database(self.stack)
        self.servers = Servers(self.stack, envfile.variables(self.stack))

    def start(self) -> None:
        reconcile.start_all(self.stack, self._components, [])

    def stop(self) -> None:
        reconcile.stop_all(self.stack, self._components)

    def end(self, name: str, number: signal.Signals) -> None:
        """Send a signal and wait until the server is gone; it is not started again yet."""
        component = self._component(name)
        running = processes.running(self.stack, name)
        assert running is not None, f"{name} does not run"
        os.kill(running.pid, number)
        processes.stop(self.stack, [processes.Target(component.name, number, 30)])

    def _component(self, name: str) -> Component:
        return next(each for each in self._components if each.name == name)


@pytest.fixture(scope="module")
def own_servers() -> Iterator[OwnServers]:
    with exclusive(stack_folder(STACK) / "lock", "testing with servers that die"):
        servers = OwnServers()
        try:
            yield servers
        finally:
            servers.stop()


@pytest.fixture
def stage(
    own_servers: OwnServers, service_processes: ServiceProcesses, free_port: Callable[[], int], sabotage: str
) -> Iterator[CrashStage]:
    """An empty database and virtual host on the servers that die."""
    with (
        stack_places.database(own_servers.servers) as database,
        stack_places.virtual_host(own_servers.servers) as virtual_host,
    ):
        yield CrashStage(database, virtual_host, service_processes, free_port, sabotage).create_stream()


async def test_servers_that_die_take_nothing_with_them(
    stage: CrashStage, own_servers: OwnServers, seed: int, rounds: int, tmp_path: Path
) -> None:
    """Each blow strikes while events are on their way, and the next one waits until work has gone on."""
    # The producer sends again what the broker has not confirmed: order and repetition are not the ledger's any more.
    ledger = Ledger(seed, tmp_path / "ledger.jsonl", disorder=False)
    blows = [("postgres", signal.SIGQUIT), ("rabbitmq", signal.SIGKILL)] * rounds
    random.Random(seed).shuffle(blows)
    ingest, rollup = stage.launch("ingest"), stage.launch("rollup")
    async with stage.publishing(ledger, PIECE, ahead=20 * PIECE):
        for name, number in blows:
            await goes_on(stage)
            own_servers.end(name, number)
            own_servers.start()
            await goes_on(stage)
    await stage.caught_up(ledger)
    await stage.folded()

    assert (ingest.exit_code, rollup.exit_code) == (None, None)
    ledger.check(stage, resent=True)
    ledger.check_rollups(stage)
    check_api_without_redis(stage, ledger)


async def goes_on(stage: CrashStage) -> None:
    reached = stage.position()
    await stage.until(lambda: stage.position() > reached + PIECE, f"progress beyond {reached}")


def check_api_without_redis(stage: CrashStage, ledger: Ledger) -> None:
    """Redis is gone from the start: the API still gives every organisation its number of calls."""
    api = stage.processes.start(
        "analytics-query-api",
        {
            "ENVIRONMENT": "test",
            "DATABASE_URL": stage.database.dsn("analytics_query_api"),
            "RABBITMQ_URL": stage.rabbitmq.amqp_url,
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "AUTH_JWT_SECRET": JWT_SECRET,
            "HTTP_PORT": str(stage.free_port()),
        },
    )
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    query = {
        "start": (now - timedelta(days=4)).isoformat(),
        "end": (now + timedelta(hours=1)).isoformat(),
        "granularity": "hour",
    }
    for org, events in ledger.events_by_org().items():
        answer = httpx.get(
            f"{api.url}/analytics/v1/orgs/{org}/usage",
            params=query,
            headers={"Authorization": f"Bearer {token('admin')}"},
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["totals"]["invocations"] == events
