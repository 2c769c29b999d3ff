"""POST /events while the way to the broker, or to the audit log, is broken. The application runs in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from analytics_client import UsagePublisher
from analytics_core import clock
from analytics_core.audit import AuditLog
from analytics_core.database import WriteDatabase
from analytics_core.http.app import with_edge
from analytics_core.http.guards import AccessGuard
from analytics_core.http.identity import Authenticator
from analytics_core.lifecycle import Dependencies
from analytics_core.settings import AccessSettings
from analytics_ingest import event_publisher
from analytics_ingest.event_publisher import EventPublisher
from analytics_ingest.http_ingest import HttpIngest
from analytics_ingest.limits import HTTP_EVENTS_IN_HAND_MAX
from analytics_ingest.wiring import build_http_app
from tests.integration.http_ingest.conftest import EVENTS, WRITE, Ingest, events
from tests.integration.ingest.streaming import STREAM
from tests.support.callers import JWT_SECRET, bearer
from tests.support.fault_proxy import FaultProxy
from tests.support.polling import eventually


@pytest_asyncio.fixture
async def proxy(ingest: Ingest) -> AsyncIterator[FaultProxy]:
    """The way to the broker."""
    rabbitmq = ingest.stage.rabbitmq
    async with FaultProxy.open(rabbitmq.host, rabbitmq.stream_port) as proxy:
        yield proxy


Front = tuple[httpx.AsyncClient, UsagePublisher]


@asynccontextmanager
async def front(ingest: Ingest, proxy: FaultProxy, dsn: str) -> AsyncIterator[Front]:
    """A second HTTP front of the running platform, behind the proxy, and its publisher."""
    rabbitmq = ingest.stage.rabbitmq
    url = rabbitmq.stream_url.replace(f":{rabbitmq.stream_port}/", f":{proxy.port}/")
    async with (
        WriteDatabase.open(dsn, application_name="test", pool_size=1) as database,
        UsagePublisher(
            url,
            stream=STREAM,
            load_balanced=True,
            buffer_events_max=HTTP_EVENTS_IN_HAND_MAX,
            confirm_seconds=1,
            close_seconds=1,
        ) as publisher,
    ):
        audit = AuditLog(database, "test")
        guard = AccessGuard(Authenticator(AccessSettings(auth_jwt_secret=JWT_SECRET), clock.now), audit, clock.now)
        http_ingest = HttpIngest(EventPublisher(publisher), clock.now, timedelta(days=400))
        app = with_edge(build_http_app(Dependencies({}), guard, http_ingest))
        recording = asyncio.create_task(audit.run())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client:
            yield client, publisher
        recording.cancel()
        await asyncio.wait({recording})


@pytest_asyncio.fixture
async def client_and_publisher(
    ingest: Ingest, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Front]:
    """The front, with less patience than in production."""
    monkeypatch.setattr(event_publisher, "HTTP_CONFIRM_MAX", timedelta(seconds=1))
    async with front(ingest, proxy, ingest.stage.database.dsn("analytics_ingest")) as opened:
        yield opened


@pytest.fixture
def client(client_and_publisher: Front) -> httpx.AsyncClient:
    return client_and_publisher[0]


async def _stored(ingest: Ingest, org_id: UUID, count: int) -> None:
    await asyncio.to_thread(eventually, lambda: len(ingest.stored(org_id)) == count)


@pytest.mark.parametrize("fault", [FaultProxy.refuse, FaultProxy.freeze, FaultProxy.swallow_answers])
async def test_without_a_confirmation_the_caller_repeats_and_nothing_is_counted_twice(
    ingest: Ingest, client: httpx.AsyncClient, proxy: FaultProxy, org_id: UUID, writer: dict[str, str], fault: object
) -> None:
    """Whether the broker got none, some or all of them: the same event ids make the repetition safe."""
    assert (await client.post(EVENTS, json=events(org_id, 1), headers=writer)).status_code == 202
    sent = events(org_id, 30)
    fault(proxy)  # type: ignore[operator]
    refused = await client.post(EVENTS, json=sent, headers=writer)

    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) > 0
    assert "send the whole request again" in refused.json()["detail"]

    proxy.accept()
    async with asyncio.timeout(30):
        while (again := await client.post(EVENTS, json=sent, headers=writer)).status_code == 503:
            pass
    assert again.json()["accepted"] == 30
    last = await client.post(EVENTS, json=events(org_id, 1), headers=writer)
    assert last.status_code == 202
    await _stored(ingest, org_id, 32)


async def test_requests_beyond_the_limit_are_told_to_come_back(
    client_and_publisher: Front, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who alone has half of all events in hand gets 429; when all of them are in hand, everybody gets 503."""
    client, publisher = client_and_publisher
    monkeypatch.setattr(event_publisher, "HTTP_CONFIRM_MAX", timedelta(seconds=8))
    org_ids = {subject: uuid4() for subject in ("first", "second", "third")}
    callers = {subject: bearer(WRITE, orgs=[org_id], subject=subject) for subject, org_id in org_ids.items()}
    await client.post(EVENTS, json=events(org_ids["first"], 1), headers=callers["first"])
    proxy.freeze()
    waiting = [
        asyncio.create_task(client.post(EVENTS, json=events(org_ids[subject], 1_000), headers=callers[subject]))
        for subject in ("first", "second")
        for _ in range(10)
    ]
    async with asyncio.timeout(20):
        while publisher.buffered < HTTP_EVENTS_IN_HAND_MAX:  # noqa: ASYNC110 — there is nothing to wait on
            await asyncio.sleep(0.01)
    too_many = await client.post(EVENTS, json=events(org_ids["first"], 1), headers=callers["first"])
    overloaded = await client.post(EVENTS, json=events(org_ids["third"], 1), headers=callers["third"])

    assert (too_many.status_code, too_many.json()["code"]) == (429, "too-many-requests")
    assert (overloaded.status_code, overloaded.json()["code"]) == (503, "unavailable")
    assert too_many.headers["retry-after"] == overloaded.headers["retry-after"] == "1"
    answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} <= {202, 503}
    after = await client.post(EVENTS, json=events(org_ids["first"], 1), headers=callers["first"])
    assert after.status_code == 202


async def test_nothing_is_published_without_an_audit_record(
    ingest: Ingest, proxy: FaultProxy, org_id: UUID, writer: dict[str, str]
) -> None:
    """And repeated requests do not fill the stream with duplicates while the database is away."""
    marker = str(uuid4())
    body = events(org_id, 3, modelId=marker)
    nowhere = "postgres://nobody:x@127.0.0.1:1/none"
    async with front(ingest, proxy, nowhere) as (client, _):
        with capture_logs():  # drawing the stack with all its variables takes seconds
            answers = [await client.post(EVENTS, json=body, headers=writer) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert "audit" in answers[0].json()["detail"]
    await asyncio.to_thread(ingest.post, json=events(org_id, 1), headers=writer)
    assert not any(marker.encode() in published for published in await ingest.stream.bodies(1))
