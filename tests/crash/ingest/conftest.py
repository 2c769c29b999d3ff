"""Fixtures of the tests that kill ingest and cut its connections."""

from collections.abc import Callable

import pytest

from tests.integration.ingest.streaming import IngestStage
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, RabbitMq


@pytest.fixture
def stage(
    make_database: Callable[[], Database],
    make_rabbitmq: Callable[[], RabbitMq],
    service_processes: ServiceProcesses,
    free_port: Callable[[], int],
) -> IngestStage:
    """An empty database and an empty virtual host."""
    return IngestStage(make_database(), make_rabbitmq(), service_processes, free_port)
