"""The outermost layer of a service's HTTP server: request id, metrics, trace and one log line a request."""

import asyncio
import logging
import re
from time import perf_counter
from uuid import uuid4

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Status, StatusCode

from analytics_core.database import sessions_end_behind
from analytics_core.telemetry.metrics import HTTP_REQUEST_DURATION, HTTP_REQUESTS, HTTP_REQUESTS_FAILED

_REQUEST_ID = re.compile(rb"^[A-Za-z0-9._:-]{1,128}$")
# A path that no route matches is one label, or a scanner could fill the memory of Prometheus.
UNMATCHED = "unmatched"
# Nor may the method, which can be any word.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
# nginx's code for a caller who has gone, or a service that stops, before the answer: no failure of a request.
CLOSED_EARLY = 499

log = structlog.get_logger()
# Of `log`, without making one of its events first, which is dropped where only warnings are written.
_LEVELS = logging.getLogger(__name__)
tracer = trace.get_tracer("analytics_core.http")


class Edge:
    """Wraps an ASGI application. The request's id is in `scope["analytics_request_id"]` and in `X-Request-Id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._observed(scope, receive, send)
        else:
            if scope["type"] == ScopeType.WEBSOCKET:
                given = dict(scope["headers"]).get(b"x-request-id")
                scope["analytics_request_id"] = _request_id(given)  # type: ignore[typeddict-unknown-key]
            await self._app(scope, receive, send)

    async def _observed(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        scope["analytics_request_id"] = request_id  # type: ignore[typeddict-unknown-key]
        started = perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            tracer.start_as_current_span(scope["method"], context=extract(carrier), kind=SpanKind.SERVER) as span,
        ):
            try:
                async with sessions_end_behind():
                    await self._app(scope, receive, send_with_id)
            except asyncio.CancelledError:
                status = CLOSED_EARLY
                raise
            finally:
                method = scope["method"] if scope["method"] in _METHODS else OTHER_METHOD
                route = str(scope.get("path_template") or UNMATCHED)
                _observe(method, route, status, perf_counter() - started)
                _describe(span, method, route, status)


def _request_id(given: bytes | None) -> str:
    """The caller's id if it is one, else a new one: whatever stands here ends up in logs and tables."""
    return given.decode() if given is not None and _REQUEST_ID.match(given) else str(uuid4())


def _observe(method: str, route: str, status: int, seconds: float) -> None:
    HTTP_REQUESTS.labels(method, route, status).inc()
    HTTP_REQUEST_DURATION.labels(method, route).observe(seconds)
    if status >= 500:
        HTTP_REQUESTS_FAILED.labels(method, route, status).inc()
    level = logging.DEBUG if route.endswith(("/healthz", "/readyz", "/metrics")) else logging.INFO
    if _LEVELS.isEnabledFor(level):
        log.log(level, "request", method=method, route=route, status=status, duration_ms=round(seconds * 1000, 2))


def _describe(span: trace.Span, method: str, route: str, status: int) -> None:
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "url.scheme": "http",
        }
    )
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
