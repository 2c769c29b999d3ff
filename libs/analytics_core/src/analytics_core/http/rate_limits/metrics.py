"""The metrics of rate limits, in every service whose callers have an identity."""

from prometheus_client import Counter, Gauge

RATE_LIMITED = Counter(
    "analytics_rate_limited_requests_total",
    "Requests refused with 429 for their rate; many: a client without backoff, or RATE_LIMIT_PER_SECOND is too low.",
    ["kind"],
)
RATE_LIMITS_LOCAL = Gauge(
    "analytics_rate_limits_local",
    "1 while rates are limited by each process alone, because Redis is away or slow: look at Redis.",
)
