"""The guard in front of every route: decide, have the decision recorded, hand out the scope.

A route says one of these, or the service does not start:
- `opt={"action": Action.…}`: the organisation is `{orgId:uuid}` in the path; the route takes `org_scope`;
- `opt={"action": Action.…, "orgs_in_body": True}`: the route takes `org_decisions` and decides on each organisation;
- `opt={"action": PlatformAction.…}`: all organisations; the route takes `platform_scope`;
- `opt={"public": True}`.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from functools import partial
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler, WebsocketRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from analytics_core.access import (
    AnyDecision,
    Decision,
    Denial,
    OrgScope,
    PlatformAction,
    PlatformDecision,
    PlatformScope,
    Principal,
    Role,
    RoleDecision,
    decide,
    decide_platform,
    decide_role,
)
from analytics_core.audit import RECORD_SECONDS_MAX, AuditEntry, AuditLog
from analytics_core.clock import Clock
from analytics_core.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from analytics_core.http.identity import Authenticator
from analytics_core.http.org_decisions import OrgDecisions
from analytics_core.http.problems import RETRY_AFTER_SECONDS, on_api_error
from analytics_core.http.rate_limits.limits import RateLimits


class AccessGuard:
    """Litestar guard over authentication, rate, decision and audit. One instance serves a whole application."""

    def __init__(
        self, authenticator: Authenticator, audit: AuditLog, clock: Clock, rate_limits: RateLimits | None = None
    ) -> None:
        self._authenticator = authenticator
        self._audit = audit
        self._clock = clock
        self._rate_limits = rate_limits

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Raise unless the request is allowed; afterwards the providers below give what it was allowed."""
        # Litestar answers OPTIONS itself, with nothing but the allowed methods.
        if handler.opt.get("public") or connection.scope.get("method") == "OPTIONS":
            return
        rejected: Unauthenticated | None = None
        try:
            principal = await self._authenticator.principal(connection)
        except Unauthenticated as error:
            principal, rejected = None, error
        if self._rate_limits is not None:
            await self._rate_limits.admit(connection, principal)
        decision = _decide(principal, handler, connection)
        record = partial(self._start_record, connection)
        audited: Awaitable[None]
        if isinstance(decision, RoleDecision) and decision.allowed:
            audited = OrgDecisions(decision, record)
            connection.scope["analytics_org_decisions"] = audited  # type: ignore[typeddict-unknown-key]
        else:
            audited = record(decision)
        connection.scope["analytics_audit"] = audited  # type: ignore[typeddict-unknown-key]
        if not decision.allowed:
            raise rejected or _refusal(decision)
        connection.scope["analytics_access"] = decision  # type: ignore[typeddict-unknown-key]

    def _start_record(
        self, connection: ASGIConnection[Any, Any, Any, Any], decision: AnyDecision
    ) -> asyncio.Future[None]:
        """The record is written while the query runs; `AuditBarrier` holds the answer back until it is committed."""
        entry = AuditEntry(
            decided_at=self._clock(),
            decision=decision,
            request_id=str(connection.scope.get("analytics_request_id", "")),
            method=str(connection.scope.get("method", "GET")),
            path=connection.scope["path"],
        )
        record = asyncio.ensure_future(self._audit.record(entry))
        # The audit log reports its failures itself, also those of a request that did not live to see them.
        record.add_done_callback(lambda done: done.cancelled() or done.exception())
        return record


def _decide(
    principal: Principal | None, handler: BaseRouteHandler, connection: ASGIConnection[Any, Any, Any, Any]
) -> AnyDecision:
    action = handler.opt["action"]
    if isinstance(action, PlatformAction):
        return decide_platform(principal, action)
    if handler.opt.get("orgs_in_body"):
        return decide_role(principal, action)
    # Paths say {orgId:uuid}: anything else never reached this route.
    return decide(principal, action, connection.path_params["orgId"])


def _refusal(decision: AnyDecision) -> Exception:
    match decision.reason:
        case Denial.UNAUTHENTICATED:
            return Unauthenticated("send `Authorization: Bearer <token>`")
        case Denial.FOREIGN_ORG:
            return NotFound(f"there is no organisation {decision.org_id} that you belong to")
        case _:
            role = Role.ADMIN if isinstance(decision, PlatformDecision) else decision.action
            return Forbidden(f"this needs the role {role.value}")


# A WebSocket is refused with a close, before anything else has been said.
_ANSWERS = frozenset({"http.response.start", "websocket.accept", "websocket.close"})


class AuditBarrier:
    """ASGI middleware: no answer leaves before the decision behind it is in the audit log; 503 if it cannot be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        withheld = False

        async def send_after_record(message: Message) -> None:
            # Raising here would not do: Litestar takes the answer for started and lets the error through to the server.
            nonlocal withheld
            if message["type"] in _ANSWERS and not await _is_recorded(scope):
                withheld = True
                await _send_instead(scope, receive, send)
            if not withheld:
                await send(message)

        await self._app(scope, receive, send_after_record)


async def _is_recorded(scope: Scope) -> bool:
    """Wait until the decision behind this request is committed, if there was one; False when it cannot be."""
    record: Awaitable[None] | None = scope.pop("analytics_audit", None)  # type: ignore[typeddict-item]
    if record is None:
        return True
    # Mostly it is there before the answer: no timer for that.
    if isinstance(record, asyncio.Future) and record.done():
        return not record.cancelled() and record.exception() is None
    try:
        async with asyncio.timeout(RECORD_SECONDS_MAX):
            await record
    except Exception:  # noqa: BLE001 — whatever kept the record out keeps the answer in
        return False
    return True


async def _send_instead(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == ScopeType.WEBSOCKET:
        await send({"type": "websocket.close", "code": 1013, "reason": "the audit log cannot be written"})
        return
    request: Request[Any, Any, Any] = Request(scope)
    error = Unavailable("the audit log cannot be written", retry_after_seconds=RETRY_AFTER_SECONDS)
    await on_api_error(request, error).to_asgi_response(app=None, request=request)(scope, receive, send)


def provide_decision(scope: Scope) -> Decision:
    """Dependency: the decision that let this request in."""
    decision: Decision = scope["analytics_access"]  # type: ignore[typeddict-item]
    return decision


def provide_scope(scope: Scope) -> OrgScope:
    """Dependency: the organisation that this request may touch."""
    decision: AnyDecision = scope["analytics_access"]  # type: ignore[typeddict-item]
    if not isinstance(decision, Decision) or decision.scope is None:
        raise Forbidden("not allowed")
    return decision.scope


def provide_org_decisions(request: Request[Any, Any, Any]) -> OrgDecisions:
    """Dependency: decides on the organisations that the body names."""
    decisions: OrgDecisions = request.scope["analytics_org_decisions"]  # type: ignore[typeddict-item]
    return decisions


def provide_platform_scope(request: Request[Any, Any, Any]) -> PlatformScope:
    """Dependency: the permission to touch every organisation."""
    decision: AnyDecision = request.scope["analytics_access"]  # type: ignore[typeddict-item]
    if not isinstance(decision, PlatformDecision) or decision.scope is None:
        raise Forbidden("not allowed")
    return decision.scope


def check_routes_are_guarded(handlers: Iterable[BaseRouteHandler]) -> None:
    """Raise at start when a route neither names its action nor says that it is public."""
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler) and handler.http_methods == {"OPTIONS"}:
            continue
        if not isinstance(handler, (HTTPRouteHandler, WebsocketRouteHandler)):
            continue
        if not {"action", "public"} & set(handler.opt):
            raise ImproperlyConfiguredException(f"{handler.paths}: the route has neither an action nor `public`")
