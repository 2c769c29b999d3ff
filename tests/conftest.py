"""Fixtures on real servers. Each session has a database, virtual host, cache and bucket of its own."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support import stack_places
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq, Servers, start_servers


def pytest_addoption(parser: pytest.Parser) -> None:
    """The long form of the crash tests, and their negative controls."""
    group = parser.getgroup("crash", "tests/crash")
    group.addoption("--crash-rounds", type=int, default=1, metavar="N", help="strike every point N times (default: 1)")
    group.addoption("--crash-seed", type=int, metavar="SEED", help="repeat a run")
    group.addoption(
        "--crash-sabotage",
        default="",
        metavar="NAME",
        help="take a guard away: the tests have to fail, see tests/crash/sabotage.py",
    )


@pytest.fixture(scope="session")
def servers() -> Servers:
    """The test stack, running; its addresses are in `servers.env` and `servers.stack.ports`."""
    running = start_servers()
    stack_places.sweep(running)
    return running


@pytest.fixture(scope="session")
def database(servers: Servers) -> Iterator[Database]:
    """The session's migrated database. A test that needs tables without other tests' rows takes `make_database`."""
    with stack_places.database(servers) as place:
        yield place


@pytest.fixture(scope="module")
def make_database(servers: Servers) -> Iterator[Callable[..., Database]]:
    """Makes one more fresh database per call (0.1 s); `migrated=False` gives an empty one.

    They are dropped at the end of the module: a whole run makes 150, of 15 MB each.
    """
    with ExitStack() as places:
        yield lambda *, migrated=True: places.enter_context(stack_places.database(servers, migrated=migrated))


@pytest.fixture(scope="session")
def rabbitmq(servers: Servers) -> Iterator[RabbitMq]:
    """The session's virtual host."""
    with stack_places.virtual_host(servers) as place:
        yield place


@pytest.fixture(scope="module")
def make_rabbitmq(servers: Servers) -> Iterator[Callable[[], RabbitMq]]:
    """Makes one more virtual host per call, deleted at the end of the module."""
    with ExitStack() as places:
        yield lambda: places.enter_context(stack_places.virtual_host(servers))


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> Iterator[str]:
    """URL of the session's own logical Redis database, empty at first."""
    with stack_places.redis_database(servers) as url:
        yield url


@pytest.fixture(scope="session")
def s3(servers: Servers) -> Iterator[ObjectStore]:
    """The session's bucket."""
    with stack_places.bucket(servers) as place:
        yield place


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port of 127.0.0.1 that is free now, another one per call."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture
def service_processes() -> Iterator[ServiceProcesses]:
    """Starts services as real processes; whatever a test does to them, none is left at its end."""
    with ServiceProcesses() as processes:
        yield processes
