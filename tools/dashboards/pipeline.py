"""The dashboard of ingest and rollup."""

from tools.dashboards.panels import Dashboard, Panel, Query, quantile, spread

PIPELINE = Dashboard(
    uid="analytics-pipeline",
    title="Analytics / Pipeline",
    description="From the stream to visible numbers: lag, throughput, dedupe, dead letters, leases, folds.",
    panels=(
        Panel(
            "Freshness lag",
            "Age of the oldest accepted event that is not visible; pages above 10 minutes.",
            "s",
            [Query("max(analytics_freshness_lag_seconds)", "lag")],
            alert_above=600,
        ),
        Panel(
            "Stream lag",
            "Age of the time up to which everything accepted is committed, by partition; pages above 5 minutes.",
            "s",
            [Query("max by (partition) (analytics_ingestion_stream_lag_seconds)", "partition {{partition}}")],
            alert_above=300,
        ),
        Panel(
            "Events by result",
            "Messages a second: stored, duplicate, conflict, rejected. Their sum is what came.",
            "ops",
            [Query("sum by (result) (rate(analytics_ingestion_events_total[$__rate_interval]))", "{{result}}")],
        ),
        Panel(
            "Batch duration",
            "Time of a batch's transaction. Growing: disk, checkpoints or locks of the database.",
            "s",
            spread("analytics_ingestion_batch_duration_seconds"),
        ),
        Panel(
            "Dead letters",
            "Messages a second that were no usage events, by reason.",
            "ops",
            [Query("sum by (reason) (rate(analytics_ingestion_dead_letters_total[$__rate_interval]))", "{{reason}}")],
        ),
        Panel(
            "Conflicts",
            "Event ids that came again with another body: a producer's mistake.",
            "ops",
            [Query("sum(rate(analytics_ingestion_dedupe_conflicts_total[$__rate_interval]))", "conflicts")],
        ),
        Panel(
            "Partitions with an owner",
            "1 for each partition that a replica reads; 0 pages.",
            "none",
            [Query("max by (partition) (analytics_ingestion_lease_owner)", "partition {{partition}}")],
            kind="bargauge",
        ),
        Panel(
            "Stopped partitions, gaps, fenced writers",
            "All 0 in good times. A gap is lost data; a stopped partition waits for a decision.",
            "none",
            [
                Query("sum(analytics_ingestion_stopped)", "stopped"),
                Query("sum(increase(analytics_ingestion_gaps_total[1h]))", "gaps in an hour"),
                Query("sum(increase(analytics_ingestion_fenced_total[1h]))", "fenced in an hour"),
            ],
        ),
        Panel(
            "Reader restarts",
            "Times that reading was begun anew in an hour, by reason.",
            "none",
            [Query("sum by (reason) (increase(analytics_ingestion_reader_restarts_total[1h]))", "{{reason}}")],
        ),
        Panel(
            "Events folded",
            "Events a second that became visible; should equal what is stored.",
            "ops",
            [
                Query("sum(rate(analytics_rollup_rows_processed_total[$__rate_interval]))", "folded"),
                Query('sum(rate(analytics_ingestion_events_total{result="stored"}[$__rate_interval]))', "stored"),
            ],
        ),
        Panel(
            "Waiting batches",
            "Committed batches that are not folded yet, and the age of the oldest.",
            "none",
            [
                Query("max(analytics_rollup_unfolded_batches)", "batches"),
                Query("max(analytics_rollup_oldest_unfolded_age_seconds)", "seconds"),
            ],
        ),
        Panel(
            "Drift",
            "Buckets of the last sample that differ from a recount; anything but 0 pages.",
            "none",
            [Query("max(analytics_rollup_reconcile_drift)", "buckets")],
            kind="stat",
            alert_above=1,
        ),
        Panel(
            "Lag of dimensions",
            "Age of the oldest accepted event not visible by client, project or user; warns above 15 minutes.",
            "s",
            [Query("max(analytics_rollup_dimensions_lag_seconds)", "lag")],
            alert_above=900,
        ),
        Panel(
            "Fold duration",
            "Time of one fold, by model and by dimensions. Near a minute the statement timeout ends a fold by model.",
            "s",
            [
                Query(quantile(0.95, "analytics_rollup_duration_seconds"), "p95 by model"),
                Query(quantile(0.95, "analytics_rollup_dimensions_duration_seconds"), "p95 by dimensions"),
            ],
        ),
        Panel(
            "Events over HTTP",
            "Events a second of POST /events: accepted, rejected, or unconfirmed, which the broker is to blame for.",
            "ops",
            [Query("sum by (result) (rate(analytics_ingestion_http_events_total[$__rate_interval]))", "{{result}}")],
        ),
        Panel(
            "Failed folds, and batches that cannot be folded",
            "Folds rolled back in an hour by reason; unfoldable batches page.",
            "none",
            [
                Query("sum by (reason) (increase(analytics_rollup_fold_failures_total[1h]))", "{{reason}}"),
                Query("max(analytics_rollup_unfoldable_batches)", "unfoldable"),
                Query("max(analytics_rollup_dimensions_unfoldable_batches)", "unfoldable by dimensions"),
            ],
        ),
        Panel(
            "Retention",
            "Chunks dropped in a day by table, and tables whose oldest chunk is still in use.",
            "none",
            [
                Query("sum by (table) (increase(analytics_rollup_chunks_dropped_total[1d]))", "{{table}}"),
                Query("max(analytics_rollup_retention_postponed_tables)", "postponed"),
            ],
        ),
    ),
)
