"""The metrics of rollup beside `http_*`."""

from prometheus_client import Counter, Gauge, Histogram

LAST_SUCCESS = Gauge(
    "analytics_rollup_last_success_timestamp",
    "Unix time when batches were last folded; old while batches wait: look for fold_failed in the logs.",
)
DURATION = Histogram(
    "analytics_rollup_duration_seconds",
    "Time of one fold; near 60 s the statement timeout ends it: look at locks and disk of the database.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
ROWS_PROCESSED = Counter(
    "analytics_rollup_rows_processed_total",
    "Events folded; a rate below that of analytics_ingestion_events_total means a growing backlog.",
)
BATCHES_FOLDED = Counter(
    "analytics_rollup_batches_folded_total", "Batches folded; each once, whatever died in between."
)
FAILURES = Counter(
    "analytics_rollup_fold_failures_total",
    "Folds that were rolled back, by reason: unreachable and contended pass by themselves, refused names a wrong"
    " schema or right, data a batch that needs a look (fold_failed in the logs).",
    ["reason"],
)
UNFOLDABLE_BATCHES = Gauge(
    "analytics_rollup_unfoldable_batches",
    "Batches that fail even alone and hold back the watermark: fold_failed in the logs says which and why.",
)
UNFOLDED_BATCHES = Gauge(
    "analytics_rollup_unfolded_batches",
    "Committed batches that wait to be folded; NaN while the database is away. Growing: add replicas or processors.",
)
OLDEST_UNFOLDED_AGE = Gauge(
    "analytics_rollup_oldest_unfolded_age_seconds",
    "Age of the oldest batch that waits to be folded, 0 when none does; NaN while the database is away.",
)
FRESHNESS_LAG = Gauge(
    "analytics_freshness_lag_seconds",
    "Greatest age of an accepted event that is not visible yet; NaN while unknown. High: is ingest behind, or rollup?",
)
DIMENSIONS_DURATION = Histogram(
    "analytics_rollup_dimensions_duration_seconds",
    "Time of one fold into the families detail, actor and quarter; long ones take many events at once, which is cheap.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0),
)
DIMENSIONS_ROWS_PROCESSED = Counter(
    "analytics_rollup_dimensions_rows_processed_total",
    "Events folded into the families detail, actor and quarter; a rate below ingestion's means a growing backlog.",
)
DIMENSIONS_UNFOLDABLE_BATCHES = Gauge(
    "analytics_rollup_dimensions_unfoldable_batches",
    "Batches that fail even alone in the dimension fold: fold_failed in the logs says which and why.",
)
DIMENSIONS_LAG = Gauge(
    "analytics_rollup_dimensions_lag_seconds",
    "Greatest age of an accepted event that is not visible by client, project, status or actor; NaN while unknown.",
)
RECONCILE_DRIFT = Gauge(
    "analytics_rollup_reconcile_drift",
    "Buckets of the last sample that differ from a recount; above 0: run analytics-rollup reconcile --repair.",
)
RECONCILE_LAST_SUCCESS = Gauge(
    "analytics_rollup_reconcile_last_success_timestamp",
    "Unix time of the last sample that was compared; old: look for reconcile_failed in the logs.",
)
DAYS_CLOSED = Counter(
    "analytics_rollup_days_closed_total",
    "Days of the families detail and actor that were summed up; two a day are expected: look for upkeep_failed.",
)
CHUNKS_DROPPED = Counter(
    "analytics_rollup_chunks_dropped_total", "Chunks that retention has dropped, by table.", ["table"]
)
RETENTION_POSTPONED = Gauge(
    "analytics_rollup_retention_postponed_tables",
    "Tables whose oldest chunk was in use or not folded yet; above 0 for hours: look for chunk_kept in the logs.",
)
RETENTION_LAST_SUCCESS = Gauge(
    "analytics_rollup_retention_last_success_timestamp",
    "Unix time when no chunk was older than its table's retention; old: look for upkeep_failed or chunk_kept.",
)
