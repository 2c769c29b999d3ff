"""A small application on the HTTP core: one route of each kind, so that the core is tested apart from any service."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from analytics_core.access import Action, Decision, OrgScope
from analytics_core.audit import AuditLog
from analytics_core.database import WriteDatabase
from analytics_core.errors import Conflict, TooManyRequests
from analytics_core.http.app import API_PREFIX, build_app, with_edge
from analytics_core.http.guards import AccessGuard
from analytics_core.http.identity import Authenticator
from analytics_core.http.rate_limits.limits import RateLimits
from analytics_core.lifecycle import Dependencies, Dependency
from analytics_core.settings import AccessSettings
from tests.support.callers import JWT_SECRET

BODY_BYTES_MAX = 10_000
NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """A body with a required and an optional field."""

    name: str
    count: int = 1


@get(f"{API_PREFIX}/orgs/{{orgId:uuid}}/things", opt={"action": Action.USAGE_READ}, operation_id="getThings")
async def get_things(
    org_scope: NamedDependency[OrgScope], decision: NamedDependency[Decision], count: FromQuery[int] = 0
) -> dict[str, str | int]:
    """Says what it was given."""
    return {"org": str(org_scope.org_id), "subject": decision.principal.subject, "count": count}


@post(f"{API_PREFIX}/orgs/{{orgId:uuid}}/things", opt={"action": Action.EXPORTS_CREATE}, operation_id="createThing")
async def create_thing(data: JSONBody[Order]) -> Order:
    """Says what it was given."""
    return data


@get("/busy", opt={"public": True}, operation_id="getBusy")
async def get_busy() -> None:
    """Refuses for the rate."""
    raise TooManyRequests("ten requests a second", retry_after_seconds=3)


@get("/conflict", opt={"public": True}, operation_id="getConflict")
async def get_conflict() -> None:
    """Refuses for the state."""
    raise Conflict("it is done already")


@get("/defect", opt={"public": True}, operation_id="getDefect")
async def get_defect() -> None:
    """Fails as a defect does."""
    raise RuntimeError("password=hunter2")


@get("/away", opt={"public": True}, operation_id="getAway")
async def get_away() -> None:
    """Fails as a call to a server that is away does."""
    raise ConnectionRefusedError("postgres://user:hunter2@db.internal")


@get("/database/{failure:str}", opt={"public": True}, operation_id="getDatabase")
async def get_database(failure: FromPath[str]) -> None:
    """Fails as a statement does that the server gives up."""
    raise {
        "cancelled": asyncpg.QueryCanceledError,
        "locked": asyncpg.LockNotAvailableError,
        "deadlock": asyncpg.DeadlockDetectedError,
        "standby": asyncpg.ReadOnlySQLTransactionError,
    }[failure]("password=hunter2")


@get("/slow", opt={"public": True}, operation_id="getSlow")
async def get_slow() -> None:
    """Takes longer than anybody waits."""
    await asyncio.sleep(60)


ROUTES: list[Any] = [get_things, create_thing, get_busy, get_conflict, get_defect, get_away, get_database, get_slow]


@dataclass(frozen=True)
class Probe:
    """The running application."""

    client: httpx.AsyncClient
    app: Litestar
    audit: AuditLog


OpenProbe = Callable[..., AbstractAsyncContextManager[Probe]]


@asynccontextmanager
async def open_probe(
    database: WriteDatabase,
    *,
    checks: dict[str, Dependency] | None = None,
    rate_limits: RateLimits | None = None,
    **access: Any,
) -> AsyncIterator[Probe]:
    """The application with the given access settings, by default bearer tokens of `tests.support.callers`."""
    audit = AuditLog(database, "probe")
    writing = asyncio.create_task(audit.run())
    settings = AccessSettings(**(access or {"auth_jwt_secret": JWT_SECRET}))
    app = build_app(
        title="Probe",
        description="For tests of the core.",
        routes=ROUTES,
        guard=AccessGuard(Authenticator(settings, lambda: NOW), audit, lambda: NOW, rate_limits),
        dependencies=Dependencies(checks or {}),
        resources={},
        body_bytes_max=BODY_BYTES_MAX,
    )
    transport = httpx.ASGITransport(with_edge(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://probe.test", timeout=30) as client:
        yield Probe(client, app, audit)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


def things(org_id: UUID) -> str:
    """The protected path of an organisation."""
    return f"{API_PREFIX}/orgs/{org_id}/things"
