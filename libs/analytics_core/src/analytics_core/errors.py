"""The errors that leave a service, as one tree.

AnalyticsError
├── SettingsError           a wrong environment variable: the start is refused
├── FencedError             another owner has taken over: stop writing, start again
└── ApiError                what an HTTP caller sees, as RFC 9457 problem+json
    ├── InvalidEvent    400     Unauthenticated 401     Forbidden 403     NotFound 404     Conflict 409
    ├── RequestTimeout  408
    ├── TooLarge        413     UnsupportedMediaType 415
    ├── InvalidRequest  422     TooManyRequests 429
    └── Unavailable     503

Anything else that reaches the HTTP edge is a defect: 500, logged with its stack, shown to nobody.
"""

import msgspec


class AnalyticsError(Exception):
    """The root of all expected errors."""


class SettingsError(AnalyticsError):
    """One line for each wrong variable, ready to be shown to the operator."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class FencedError(AnalyticsError):
    """Somebody else owns what this process was about to write; nothing was written."""


class FieldError(msgspec.Struct, frozen=True, rename="camel"):
    """What is wrong with one field of a request: its name as the caller wrote it, and the reason."""

    field: str
    detail: str


class ApiError(AnalyticsError):
    """An expected error of the HTTP API; `code` is stable, `detail` is for people."""

    status = 500
    code = "internal"
    title = "Internal error"

    def __init__(
        self, detail: str, *, errors: tuple[FieldError, ...] = (), retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds


class InvalidEvent(ApiError):
    """The answer of a check, not a failure of the request: the event that was sent breaks the contract."""

    status, code, title = 400, "invalid-event", "Invalid event"


class Unauthenticated(ApiError):
    """The caller gave no identity, or one that does not hold."""

    status, code, title = 401, "unauthenticated", "Authentication required"


class Forbidden(ApiError):
    """The caller is known and may not do this."""

    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(ApiError):
    """There is no such thing, or none that this caller may know of."""

    status, code, title = 404, "not-found", "Not found"


class RequestTimeout(ApiError):
    """The caller did not send its body in time."""

    status, code, title = 408, "request-timeout", "Request not received in time"


class Conflict(ApiError):
    """The thing is not in a state that allows this."""

    status, code, title = 409, "conflict", "Conflict"


class TooLarge(ApiError):
    """The body has more bytes or more items than one request may."""

    status, code, title = 413, "too-large", "Content too large"


class UnsupportedMediaType(ApiError):
    """The body is in a format, or an encoding, that this route does not read."""

    status, code, title = 415, "unsupported-media-type", "Unsupported media type"


class InvalidRequest(ApiError):
    """A parameter or the body breaks the contract; `errors` names each field."""

    status, code, title = 422, "invalid-request", "Invalid request"

    @classmethod
    def field(cls, field: str, detail: str) -> "InvalidRequest":
        """The usual case: one wrong field."""
        return cls(f"{field}: {detail}", errors=(FieldError(field, detail),))


class TooManyRequests(ApiError):
    """A limit on the rate of requests is reached."""

    status, code, title = 429, "too-many-requests", "Too many requests"


class Unavailable(ApiError):
    """A server that this request needs cannot be reached now; trying again later helps."""

    status, code, title = 503, "unavailable", "Temporarily unavailable"
