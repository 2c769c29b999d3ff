"""The guard on routes without an organisation in their path: what is let in, what is recorded, what is handed out."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from litestar import Request, get, post
from litestar.di import NamedDependency

from analytics_core.access import Action, OrgScope, PlatformAction, PlatformScope
from analytics_core.audit import AuditEntry
from analytics_core.errors import InvalidRequest
from analytics_core.http.app import build_app, with_edge
from analytics_core.http.guards import AccessGuard
from analytics_core.http.identity import Authenticator
from analytics_core.http.org_decisions import OrgDecisions
from analytics_core.lifecycle import Dependencies
from analytics_core.settings import AccessSettings
from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID
from tests.support.callers import JWT_SECRET, bearer

WRITE = "analytics:events:write"


class Trail:
    """Keeps the entries that the database would get; refuses them when told to."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.broken = False

    async def record(self, entry: AuditEntry) -> None:
        if self.broken:
            raise OSError("no database")
        self.entries.append(entry)

    def summary(self) -> set[tuple[UUID | None, str, bool, str]]:
        return {
            (entry.decision.org_id, entry.decision.action.value, entry.decision.allowed, entry.decision.reason)
            for entry in self.entries
        }


@get("/everything", opt={"action": PlatformAction.USAGE_READ}, sync_to_thread=False)
def everything(platform_scope: NamedDependency[PlatformScope]) -> str:
    return repr(platform_scope)


@get("/mistake", opt={"action": PlatformAction.USAGE_READ}, sync_to_thread=False)
def mistake(org_scope: NamedDependency[OrgScope]) -> str:
    return repr(org_scope)


@post("/write", opt={"action": Action.EVENTS_WRITE, "orgs_in_body": True})
async def write(request: Request[Any, Any, Any], org_decisions: NamedDependency[OrgDecisions]) -> dict[str, bool]:
    org_ids = await request.json()
    if not org_ids:
        raise InvalidRequest("nothing")
    answer = {org_id: org_decisions.decide(UUID(org_id)).allowed for org_id in org_ids}
    await org_decisions.recorded()
    return answer


@post("/write-mistake", opt={"action": Action.EVENTS_WRITE, "orgs_in_body": True}, sync_to_thread=False)
def write_mistake(org_scope: NamedDependency[OrgScope]) -> str:
    return repr(org_scope)


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest_asyncio.fixture
async def client(trail: Trail) -> AsyncIterator[httpx.AsyncClient]:
    now = lambda: datetime.now(UTC)  # noqa: E731
    guard = AccessGuard(Authenticator(AccessSettings(auth_jwt_secret=JWT_SECRET), now), trail, now)  # type: ignore[arg-type]
    app: Any = build_app(
        title="t",
        description="d",
        routes=[everything, mistake, write, write_mistake],
        guard=guard,
        dependencies=Dependencies({}),
        resources={},
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(with_edge(app)), base_url="http://t") as client:
        yield client


async def test_the_administrator_gets_a_platform_scope_and_a_record(client: httpx.AsyncClient, trail: Trail) -> None:
    """Reading across organisations is what an auditor looks for first."""
    answer = await client.get("/everything", headers=bearer("admin"))

    assert (answer.status_code, answer.text) == (200, "PlatformScope()")
    assert trail.summary() == {(None, "platform:usage:read", True, "role admin")}


@pytest.mark.parametrize("roles", [(), ("org:admin",), ("analytics:usage:read",), ("platform:usage:read",)])
async def test_nobody_else_does(client: httpx.AsyncClient, trail: Trail, roles: tuple[str, ...]) -> None:
    """Not even with a role named after the action; the refusal says which role it is."""
    answer = await client.get("/everything", headers=bearer(*roles, orgs=[ORG_ID]))

    assert answer.status_code == 403
    assert answer.json()["detail"] == "this needs the role admin"
    assert trail.summary() == {(None, "platform:usage:read", False, "missing-role")}


async def test_without_an_identity_it_is_401(client: httpx.AsyncClient, trail: Trail) -> None:
    """Both kinds of routes, each with its record."""
    assert (await client.get("/everything")).status_code == 401
    assert (await client.post("/write", json=[str(ORG_ID)])).status_code == 401
    assert trail.summary() == {
        (None, "platform:usage:read", False, "unauthenticated"),
        (None, WRITE, False, "unauthenticated"),
    }


async def test_a_body_is_not_looked_at_without_the_role(client: httpx.AsyncClient, trail: Trail) -> None:
    """403 and one record, whatever organisations the body names."""
    answer = await client.post("/write", json=[str(ORG_ID)], headers=bearer("analytics:usage:read", orgs=[ORG_ID]))

    assert answer.status_code == 403
    assert trail.summary() == {(None, WRITE, False, "missing-role")}


async def test_each_organisation_is_decided_and_recorded_once(client: httpx.AsyncClient, trail: Trail) -> None:
    """A thousand events of two organisations are two decisions, not a thousand."""
    body = [str(ORG_ID), str(OTHER_ORG_ID)] * 500
    answer = await client.post("/write", json=body, headers=bearer(WRITE, orgs=[ORG_ID]))

    assert answer.json() == {str(ORG_ID): True, str(OTHER_ORG_ID): False}
    assert len(trail.entries) == 2
    assert trail.summary() == {(ORG_ID, WRITE, True, f"role {WRITE}"), (OTHER_ORG_ID, WRITE, False, "foreign-org")}


async def test_a_request_that_names_no_organisation_has_a_record_of_its_own(
    client: httpx.AsyncClient, trail: Trail
) -> None:
    """It was let in, so it is in the trail."""
    answer = await client.post("/write", json=[], headers=bearer(WRITE, orgs=[ORG_ID]))

    assert answer.status_code == 422
    assert trail.summary() == {(None, WRITE, True, f"role {WRITE}")}


async def test_no_answer_without_records(client: httpx.AsyncClient, trail: Trail) -> None:
    """What cannot be recorded does not happen: 503 on each kind of route."""
    trail.broken = True

    assert (await client.get("/everything", headers=bearer("admin"))).status_code == 503
    assert (await client.post("/write", json=[], headers=bearer(WRITE))).status_code == 503
    assert (await client.post("/write", json=[str(ORG_ID)], headers=bearer(WRITE))).status_code == 503


@pytest.mark.parametrize(("method", "path"), [("GET", "/mistake"), ("POST", "/write-mistake")])
async def test_a_route_that_asks_for_the_wrong_scope_gets_none(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    """A programming mistake must fail closed."""
    answer = await client.request(method, path, headers=bearer("admin"))

    assert answer.status_code == 403
