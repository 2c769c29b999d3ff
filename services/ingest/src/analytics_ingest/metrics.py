"""The metrics of ingest, each of them once."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter(
    "analytics_ingestion_events_total",
    "Messages of committed batches by result: stored, duplicate (the same event again), conflict (its id again with"
    " another body; not counted as duplicate here) or rejected (a dead letter). Their sum is all messages received.",
    ["result"],
)
HTTP_EVENTS = Counter(
    "analytics_ingestion_http_events_total",
    "Events of POST /events by result: accepted (the stream has them), rejected (the receipt says why) or unconfirmed"
    " (503, the caller repeats; if it grows, look at the broker).",
    ["result"],
)
DEDUPE_CONFLICTS = Counter(
    "analytics_ingestion_dedupe_conflicts_total",
    "Events whose id was stored with another body: a producer reuses ids or changes events when it retries.",
)
UNKNOWN_FIELD_EVENTS = Counter(
    "analytics_ingestion_unknown_field_events_total",
    "Events with fields that the contract does not know: ignored; a producer is ahead of this service or misspells.",
)
DEAD_LETTERS = Counter(
    "analytics_ingestion_dead_letters_total",
    "Dead letters by reason: look into analytics.dead_letters.",
    ["reason"],
)
REPLAYED = Counter(
    "analytics_ingestion_dead_letters_replayed_total",
    "Dead letters that were replayed by result: replayed (published once more) or refused (still wrong: see its"
    " replay_problem).",
    ["result"],
)
BATCH_DURATION = Histogram(
    "analytics_ingestion_batch_duration_seconds",
    "Time of a batch's transaction. If it grows, look at the database's locks, disk and checkpoints.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0),
)
LATE_BATCHES = Counter(
    "analytics_ingestion_late_batches_total",
    "Committed batches with events more than an hour older than their acceptance: they change closed buckets.",
)
STREAM_LAG = Gauge(
    "analytics_ingestion_stream_lag_seconds",
    "Age of the time up to which everything accepted by the broker is committed, as this replica knows it; NaN before"
    " it knows. Grows while ingest is too slow, stopped or cut off from database or broker.",
    ["partition"],
)
STREAM_LAG_MESSAGES = Gauge(
    "analytics_ingestion_stream_lag_messages",
    "Messages of the partition that the broker has and that are not committed, as its owner counted them within the"
    " last seconds; 0 elsewhere. While it grows, ingest is slower than the producers.",
    ["partition"],
)
BATCH_EVENTS = Histogram(
    "analytics_ingestion_batch_events",
    "Messages in a committed batch. Small ones under load: the database answers faster than the stream fills a batch.",
    buckets=(1, 10, 50, 100, 500, 1000, 2500, 5000, 7500, 10000),
)
LAST_PROGRESS = Gauge(
    "analytics_ingestion_last_progress_timestamp_seconds",
    "When this replica last committed a batch of the partition or proved that there is none.",
    ["partition"],
)
LEASE_OWNER = Gauge(
    "analytics_ingestion_lease_owner",
    "1 on the replica that owns the partition. No owner for longer than the lease: no replica reaches the database.",
    ["partition"],
)
STOPPED = Gauge(
    "analytics_ingestion_stopped",
    "1 while the partition is stopped until somebody decides: see dead_letter_limit_reached or offset_regression in"
    " the logs of its owner.",
    ["partition"],
)
GAPS = Counter(
    "analytics_ingestion_gaps_total",
    "Times that retention had removed messages before they were read: they are lost here; see stream_gap in the logs.",
    ["partition"],
)
READER_RESTARTS = Counter(
    "analytics_ingestion_reader_restarts_total",
    "Times that reading a partition was begun anew after a failure, by reason.",
    ["reason"],
)
FENCED = Counter(
    "analytics_ingestion_fenced_total",
    "Times that this replica found that another one had taken over a partition: it was paused for longer than a lease.",
)
WAKEUPS_DROPPED = Counter(
    "analytics_ingestion_wakeups_dropped_total",
    "Wake-up messages that could not be published: the rollup finds the batches by polling, some seconds later.",
)
