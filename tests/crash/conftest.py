"""Fixtures of the tests that kill, freeze and cut. What `--crash-…` options do is in the README."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.ledger import Ledger
from tests.crash.stage import CrashStage
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, RabbitMq

SEED = 20261124


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Printed with a failure, so that the run can be repeated."""
    given: int | None = request.config.getoption("--crash-seed")
    if given is None:
        given = random.SystemRandom().randrange(10**6) if request.config.getoption("--crash-rounds") > 1 else SEED
    sys.stdout.write(f"--crash-seed {given}\n")
    return given


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often every point is struck; one in the short form."""
    return int(request.config.getoption("--crash-rounds"))


@pytest.fixture
def sabotage(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--crash-sabotage"))


@pytest.fixture
def ledger(seed: int, tmp_path: Path) -> Ledger:
    return Ledger(seed, tmp_path / "ledger.jsonl")


@pytest.fixture
def stage(
    make_database: Callable[[], Database],
    make_rabbitmq: Callable[[], RabbitMq],
    service_processes: ServiceProcesses,
    free_port: Callable[[], int],
    sabotage: str,
) -> CrashStage:
    """An empty database and an empty virtual host."""
    return CrashStage(make_database(), make_rabbitmq(), service_processes, free_port, sabotage).create_stream()
