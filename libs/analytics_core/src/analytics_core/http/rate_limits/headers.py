"""`RateLimit-Policy` and `RateLimit` on answers (draft-ietf-httpapi-ratelimit-headers), and in the contract."""

from litestar.openapi.spec import (
    OpenAPI,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    Schema,
)
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from analytics_core.http.problems import MEDIA_TYPE
from analytics_core.http.rate_limits.gcra import Verdict
from analytics_core.http.rate_limits.limits import Kind

_POLICY = OpenAPIHeader(
    schema=Schema(type=OpenAPIType.STRING, examples=['"read";q=2000;w=10']),
    description="The limit that this request counted against, `read`, `write` or `anonymous`: `q` requests at once, "
    "which come back evenly within `w` seconds. Missing where rates are not limited.",
)
_STATE = OpenAPIHeader(
    schema=Schema(type=OpenAPIType.STRING, examples=['"read";r=1999;t=1']),
    description="What is left of it: `r` requests now, all of them in `t` seconds.",
)
_RETRY_AFTER = OpenAPIHeader(
    schema=Schema(type=OpenAPIType.INTEGER, minimum=1), description="Seconds after which a request may pass."
)
_HEADERS = {"RateLimit-Policy": _POLICY, "RateLimit": _STATE}


class RateLimitHeaders:
    """ASGI middleware: tells callers where they stand, on every answer to a request that was counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_limits(message: Message) -> None:
            counted: tuple[Kind, Verdict] | None = scope.get("analytics_rate_limit")  # type: ignore[assignment]
            if message["type"] == "http.response.start" and counted is not None:
                message["headers"] = [*message.get("headers", []), *_rendered(*counted)]
            await send(message)

        await self._app(scope, receive, send_with_limits)


def _rendered(kind: Kind, verdict: Verdict) -> list[tuple[bytes, bytes]]:
    quota = verdict.quota
    return [
        (b"ratelimit-policy", f'"{kind}";q={quota.burst};w={quota.window_seconds}'.encode()),
        (b"ratelimit", f'"{kind}";r={verdict.remaining};t={verdict.reset_seconds}'.encode()),
    ]


def document_rate_limits(document: OpenAPI) -> None:
    """Give every operation that needs an identity a 429, and the headers where a client looks for them."""
    paths = (document.paths or {}).values()
    operations = [each for path in paths for each in (path.get, path.put, path.post, path.patch, path.delete)]
    limited = [operation for operation in operations if operation is not None and operation.security]
    for operation in limited:
        _document(operation)
    if limited:
        document.components.headers = {**_HEADERS, "Retry-After": _RETRY_AFTER}


def _document(operation: Operation) -> None:
    responses = {"429": _too_many_requests(), **(operation.responses or {})}
    operation.responses = dict(sorted(responses.items()))
    for status, response in responses.items():
        if isinstance(response, OpenAPIResponse) and (status == "429" or int(status) < 400):
            names = [*_HEADERS, "Retry-After"] if status == "429" else _HEADERS
            response.headers = {**(response.headers or {}), **{name: _reference(name) for name in names}}


def _too_many_requests() -> OpenAPIResponse:
    problem = Reference(ref="#/components/schemas/Problem")
    return OpenAPIResponse(description="Too many requests", content={MEDIA_TYPE: OpenAPIMediaType(schema=problem)})


def _reference(name: str) -> Reference:
    return Reference(ref=f"#/components/headers/{name}")
