"""The export service as a real process on the session's servers."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest

from tests.integration.export.running import ExportApi, environment
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq


@pytest.fixture(scope="session")
def export_process(
    database: Database, rabbitmq: RabbitMq, s3: ObjectStore, free_port: Callable[[], int]
) -> Iterator[ExportApi]:
    """One service for all tests that do it no harm; take `exports`, which has an organisation of its own."""
    with ServiceProcesses() as processes:
        process = processes.start("analytics-export", environment(database, rabbitmq, s3, free_port()))
        yield ExportApi(process, UUID(int=0))


@pytest.fixture
def exports(export_process: ExportApi) -> ExportApi:
    """The service for an organisation that no other test knows."""
    return ExportApi(export_process.process, uuid4())
