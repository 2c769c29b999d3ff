"""The metrics that every HTTP service has. A service's own are in its `metrics.py`."""

from prometheus_client import Counter, Histogram

# OpenTelemetry's buckets for http.server.request.duration, with finer ones where our targets lie (10, 25, 40 ms).
_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.04,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.0,
    2.5,
    5.0,
    7.5,
    10.0,
)

HTTP_REQUESTS = Counter(
    "http_requests_total", "HTTP requests answered, by route template.", ["method", "route", "status"]
)
HTTP_REQUESTS_FAILED = Counter(
    "http_requests_failed_total",
    "HTTP requests answered with 5xx: look for request_failed in the logs.",
    ["method", "route", "status"],
)
HTTP_REQUEST_DURATION = Histogram(
    "http_request_duration_seconds",
    "Time from request to the end of the answer.",
    ["method", "route"],
    buckets=_SECONDS,
)
