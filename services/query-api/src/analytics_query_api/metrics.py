"""The metrics of query-api beside `http_*`."""

from prometheus_client import Counter, Gauge, Histogram

FRESHNESS_CACHE_HITS = Counter(
    "analytics_freshness_cache_hits_total", "Freshness requests answered from Redis without asking the database."
)
FRESHNESS_CACHE_MISSES = Counter(
    "analytics_freshness_cache_misses_total",
    "Freshness requests that found no usable facts in Redis; most of them although few folds: look at REDIS_URL.",
)
FRESHNESS_CACHE_ERRORS = Counter(
    "analytics_freshness_cache_errors_total",
    "Calls to Redis that failed or took too long: the answers are right all the same, look at Redis.",
)
FRESHNESS_CACHE_SECONDS = Histogram(
    "analytics_freshness_cache_lookup_seconds",
    "Time of one look-up in Redis; slow ones mean a busy Redis or a long way to it.",
    buckets=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
FRESHNESS_INVALIDATIONS = Counter(
    "analytics_freshness_cache_invalidations_total",
    "rollup.completed messages that dropped cached facts; none while rollup folds: look at RabbitMQ.",
)
QUERIES_WAITING = Gauge(
    "analytics_query_waiting_requests",
    "Requests that wait for a database connection; always above 0: raise DATABASE_POOL_SIZE or add replicas.",
)
QUERIES_REFUSED = Counter(
    "analytics_query_refused_total",
    "Requests answered with 503 because too many waited already: raise DATABASE_POOL_SIZE or add replicas.",
)
DAYS_READ = Counter(
    "analytics_query_days_read_total", "Days of usage by the hour that were read, new or changed since the last time."
)
DAYS_HELD = Counter(
    "analytics_query_days_held_total",
    "Days of usage by the hour that were answered as they were read before; few beside those read: more organisations"
    " ask than fit into memory, which costs processor time alone.",
)
AUDIT_LINKS = Counter("analytics_audit_links_total", "Audit records that got their link in the chain of this process.")
AUDIT_UNLINKED = Gauge(
    "analytics_audit_unlinked_records",
    "Audit records that wait for their link; growing: look for audit_link_failed in the logs.",
)
AUDIT_UNLINKED_AGE = Gauge(
    "analytics_audit_unlinked_age_seconds",
    "Age of the oldest audit record without a link; above a minute: as for analytics_audit_unlinked_records.",
)
LIVE_LISTENERS = Gauge("analytics_live_listeners", "Open streams of changes; at 1,000 the next one is refused.")
LIVE_READS = Counter(
    "analytics_live_reads_total",
    "Queries for live streams: one for all listeners of a question; many a second: many different questions.",
)
