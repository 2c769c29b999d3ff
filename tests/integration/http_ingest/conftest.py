"""A running ingest that is sent events over HTTP, and the same application in this process with a broken way out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from analytics_core import clock
from analytics_core.testing.builders import usage_event
from tests.integration.ingest.streaming import STREAM, IngestStage
from tests.support.callers import bearer
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, RabbitMq
from tests.support.streams import Stream

WRITE = "analytics:events:write"
EVENTS = "/analytics/v1/events"


@dataclass(frozen=True)
class Ingest:
    """A ready service; each test writes to an organisation of its own."""

    stage: IngestStage
    url: str

    def post(self, path: str = EVENTS, *, headers: dict[str, str] | None = None, **arguments: Any) -> httpx.Response:
        return httpx.post(self.url + path, headers=headers, timeout=30, trust_env=False, **arguments)

    def stored(self, org_id: UUID) -> list[str]:
        """Ids of the organisation's stored events."""
        rows = self.stage.rows("SELECT event_id FROM analytics.usage_events WHERE org_id = %s", org_id)
        return sorted(str(row["event_id"]) for row in rows)

    def audited(self, subject: str) -> list[tuple[UUID | None, str, str]]:
        """Organisation, decision and reason of the subject's records."""
        rows = self.stage.rows("SELECT * FROM analytics.audit_log WHERE subject = %s ORDER BY audit_id", subject)
        return [(row["org_id"], row["decision"], row["reason"]) for row in rows]

    @property
    def stream(self) -> Stream:
        return Stream(self.stage.rabbitmq, STREAM)


@pytest.fixture(scope="module")
def ingest(
    make_database: Callable[[], Database], make_rabbitmq: Callable[[], RabbitMq], free_port: Callable[[], int]
) -> Iterator[Ingest]:
    """One service for the tests of a module."""
    with ServiceProcesses() as processes:
        stage = IngestStage(make_database(), make_rabbitmq(), processes, free_port)
        yield Ingest(stage, stage.start().url)


@pytest.fixture
def org_id() -> UUID:
    return uuid4()


@pytest.fixture
def writer(org_id: UUID) -> dict[str, str]:
    """Headers of a caller who may write the organisation's events."""
    return bearer(WRITE, orgs=[org_id])


def events(org_id: UUID, count: int, **fields: Any) -> list[dict[str, Any]]:
    """Valid events of now."""
    now = clock.now().isoformat()
    return [usage_event(**({"orgId": str(org_id), "occurredAt": now} | fields)) for _ in range(count)]
