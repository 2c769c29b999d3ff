"""Every error as RFC 9457 problem+json: stable `type` and `code`, the request's id, no stack text."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from analytics_core.database import CONTENDED, READ_ONLY, UNREACHABLE
from analytics_core.errors import ApiError, FieldError, InvalidRequest, Unauthenticated, Unavailable

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:analytics:problem:"
RETRY_AFTER_SECONDS = 2

_MISSING_OR_UNKNOWN = re.compile(r"Object (?P<kind>missing required|contains unknown) field `(?P<field>.*)`", re.DOTALL)

log = structlog.get_logger()


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of every answer of 400 and above. `errors` names the fields at fault."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    errors: tuple[FieldError, ...] = ()


# Errors that the framework finds before our code runs.
_FRAMEWORK = {
    400: ("bad-request", "Bad request"),
    401: ("unauthenticated", "Authentication required"),
    403: ("forbidden", "Not allowed"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    406: ("not-acceptable", "Not acceptable"),
    413: ("too-large", "Content too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
    429: ("too-many-requests", "Too many requests"),
}


def problem_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """The documented errors of a route, for its `responses=`."""
    titles = {status: title for status, (_, title) in _FRAMEWORK.items()} | {
        error.status: error.title for error in ApiError.__subclasses__()
    }
    return {
        status: ResponseSpec(
            data_container=Problem, description=titles[status], media_type=MEDIA_TYPE, generate_examples=False
        )
        for status in statuses
    }


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id that this request has in logs, audit records and problems."""
    return str(request.scope.get("analytics_request_id", ""))


def on_api_error(request: Request[Any, Any, Any], error: ApiError) -> Response[Problem]:
    """An error that our own code raised on purpose."""
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return _respond(request, error.status, error.code, error.title, error.detail, error.errors, headers)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """An error that Litestar found: unknown route, wrong method, a body too large, a parameter of the wrong type."""
    if isinstance(error, ValidationException) or _is_unreadable_body(error):
        return on_api_error(request, _invalid_request(error, request.path_params))
    if error.status_code not in _FRAMEWORK:
        return on_unexpected(request, error)
    code, title = _FRAMEWORK[error.status_code]
    kept = {name: value for name, value in (error.headers or {}).items() if name.lower() in {"allow", "retry-after"}}
    return _respond(request, error.status_code, code, title, _detail(error), (), kept)


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """A defect, or a server that cannot do it now: the caller learns which of the two, the log everything."""
    if isinstance(error, (*UNREACHABLE, *READ_ONLY)):
        log.warning("dependency_failed_request", error=f"{type(error).__name__}: {error}")
        return on_api_error(
            request,
            Unavailable("a server that this request needs is away", retry_after_seconds=RETRY_AFTER_SECONDS),
        )
    if isinstance(error, CONTENDED):
        log.warning("database_did_not_finish_request", error=f"{type(error).__name__}: {error}")
        return on_api_error(
            request,
            Unavailable("the database could not finish the request", retry_after_seconds=RETRY_AFTER_SECONDS),
        )
    if isinstance(error, RecursionError):
        # The decoder of bodies raises it; nothing else here recurses with what a caller sends.
        return on_api_error(request, InvalidRequest("the body is nested too deeply"))
    log.error("request_failed", exc_info=error)
    return _respond(
        request,
        500,
        "internal",
        "Internal error",
        "an unexpected error; quote `instance` when you report it",
        (),
        {},
    )


EXCEPTION_HANDLERS: dict[Any, Any] = {
    ApiError: on_api_error,
    HTTPException: on_http_exception,
    Exception: on_unexpected,
}


def _detail(error: HTTPException) -> str:
    """What the caller can do about it, where Litestar only repeats the status."""
    allowed = next((value for name, value in (error.headers or {}).items() if name.lower() == "allow"), "nothing")
    match error.status_code:
        case 404:
            return "no resource has this path"
        case 405:
            return f"this resource allows {allowed}"
        case 413:
            return "the body is larger than this resource takes"
        case _:
            return error.detail


def _is_unreadable_body(error: HTTPException) -> bool:
    """A body that is no JSON at all reaches us as a plain 400 of Litestar's."""
    return error.status_code == 400


def _invalid_request(error: HTTPException, path_params: Mapping[str, Any]) -> InvalidRequest:
    extra = error.extra if isinstance(error.extra, list) else []
    found = (_field_error(item) for item in extra if isinstance(item, dict))
    # Since it has built the contract, Litestar also misses path parameters that a handler does not take.
    errors = tuple(item for item in found if item.field not in path_params)
    if not errors:
        return InvalidRequest(error.detail or "the request could not be read")
    return InvalidRequest("; ".join(f"{item.field}: {item.detail}" for item in errors), errors=errors)


def _field_error(item: dict[str, Any]) -> FieldError:
    """The field as the caller wrote it.

    Litestar calls the body `data`, says that it is missing by the text of a KeyError, and names an object's missing and
    unknown fields in the message alone.
    """
    field, detail = str(item.get("key", "data")), str(item.get("message", "invalid"))
    if (field, detail) == ("data", "'data'"):
        return FieldError("body", "required")
    match = _MISSING_OR_UNKNOWN.fullmatch(detail)
    if match is None:
        return FieldError("body" if field == "data" else field, detail)
    name = match["field"] if field == "data" else f"{field}.{match['field']}"
    return FieldError(name, "required" if match["kind"] == "missing required" else "there is no such field")


def _respond(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: tuple[FieldError, ...],
    headers: dict[str, str],
) -> Response[Problem]:
    problem = Problem(
        type=f"{TYPE_PREFIX}{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        instance=request_id(request),
        errors=errors,
    )
    return Response(
        problem, status_code=status, media_type=MEDIA_TYPE, headers={**headers, "Cache-Control": "no-store"}
    )
