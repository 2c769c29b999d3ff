"""The export service as a real process on the session's servers."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.integration.export.finance import NASTY, Finance
from tests.integration.export.running import APRIL, MARCH, ExportApi, environment
from tests.support.batches import random_events
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


@pytest.fixture(scope="module")
def finance_service(
    make_database: Callable[..., Database], rabbitmq: RabbitMq, s3: ObjectStore, free_port: Callable[[], int]
) -> Iterator[tuple[ExportApi, Database, dict[str, str]]]:
    database = make_database()
    env = environment(database, rabbitmq, s3, free_port())
    with ServiceProcesses() as processes:
        yield ExportApi(processes.start("analytics-export", env), UUID(int=0)), database, env


@pytest.fixture
def finance(finance_service: tuple[ExportApi, Database, dict[str, str]]) -> Finance:
    api, database, env = finance_service
    org_id, rng = uuid4(), random.Random(7)
    found = random_events(rng, 600, MARCH - timedelta(days=2), timedelta(days=35), orgs=1, models=4)
    in_march = [replace(event, org_id=org_id) for event in found if MARCH <= event.occurred_at < APRIL]
    outside = [replace(event, org_id=org_id) for event in found if not MARCH <= event.occurred_at < APRIL]
    named = [replace(in_march[0], model_id=name, client_id=name) for name in NASTY]
    organisation = Finance(ExportApi(api.process, org_id), database, env, [])
    organisation.add(outside)
    organisation.events.clear()
    organisation.add(in_march + named)
    return organisation
