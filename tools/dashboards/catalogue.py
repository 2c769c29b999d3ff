"""The dashboards: usage and spend, reliability, pipeline, exports, services."""

from tools.dashboards.panels import Dashboard, Panel, Query, Sql


def quantile(q: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


def spread(metric: str) -> list[Query]:
    return [Query(quantile(q, metric), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


OF_ORG = "org_id = '$org'::uuid AND bucket_start >= $__timeFrom() AND bucket_start < $__timeTo()"
HOURS = f'SELECT bucket_start AS "time", model_id AS metric, {{}} FROM analytics.usage_hourly WHERE {OF_ORG}'

USAGE = Dashboard(
    uid="analytics-usage",
    title="Analytics / Usage and spend",
    description="What one organisation used and what it cost, from the rollups. Times in UTC.",
    variables=(("org", "SELECT DISTINCT org_id::text FROM analytics.freshness_status ORDER BY 1"),),
    panels=(
        Panel(
            "Spend per day",
            "Estimated cost by model, in US cents; exact to the micro-cent in the API.",
            "none",
            Sql(
                'SELECT bucket_start AS "time", model_id AS metric, sum(cost_microcents) / 1000000.0 AS cents'
                f" FROM analytics.usage_daily WHERE {OF_ORG} GROUP BY 1, 2 ORDER BY 1"
            ),
        ),
        Panel(
            "Calls per hour",
            "Invocations by model.",
            "short",
            Sql(HOURS.format("sum(invocations) AS calls") + " GROUP BY 1, 2 ORDER BY 1"),
        ),
        Panel(
            "Tokens per hour",
            "Input and output tokens together, by model; input includes cached tokens, output includes reasoning.",
            "short",
            Sql(HOURS.format("sum(input_tokens + output_tokens) AS tokens") + " GROUP BY 1, 2 ORDER BY 1"),
        ),
        Panel(
            "Models",
            "Totals of the range by model, most expensive first.",
            "none",
            Sql(
                "SELECT model_id AS model, sum(invocations) AS calls, sum(input_tokens) AS input_tokens,"
                " sum(output_tokens) AS output_tokens, sum(cost_microcents) / 1000000.0 AS cents"
                f" FROM analytics.usage_hourly WHERE {OF_ORG} GROUP BY 1 ORDER BY 5 DESC LIMIT 50",
                "table",
            ),
            kind="table",
        ),
        Panel(
            "Failed calls per hour",
            "Calls that ended with error, timeout or throttled, as a share of all.",
            "percentunit",
            Sql(
                HOURS.format(
                    "sum(error_count + timeout_count + throttled_count)::float8 / sum(invocations) AS error_rate"
                )
                + " GROUP BY 1, 2 ORDER BY 1"
            ),
        ),
        Panel(
            "Newest event",
            "When the organisation last called each model, as far as it is visible.",
            "none",
            Sql(
                "SELECT model_id AS model, last_event_at, last_rollup_at FROM analytics.freshness_status"
                " WHERE org_id = '$org'::uuid ORDER BY last_event_at DESC LIMIT 50",
                "table",
            ),
            kind="table",
        ),
    ),
)

RELIABILITY = Dashboard(
    uid="analytics-reliability",
    title="Analytics / Reliability of the platform",
    description="Error rates and volumes of all organisations together, by model, from the rollups.",
    variables=(),
    columns=2,
    panels=(
        Panel(
            "Failed calls by model",
            "Share of calls per hour that ended with error, timeout or throttled.",
            "percentunit",
            Sql(
                'SELECT bucket_start AS "time", model_id AS metric,'
                " sum(error_count + timeout_count + throttled_count)::float8 / sum(invocations) AS error_rate"
                " FROM analytics.usage_hourly WHERE bucket_start >= $__timeFrom() AND bucket_start < $__timeTo()"
                " GROUP BY 1, 2 ORDER BY 1"
            ),
        ),
        Panel(
            "Failed calls by kind",
            "Errors, timeouts and throttled calls per hour.",
            "short",
            Sql(
                'SELECT bucket_start AS "time", sum(error_count) AS error, sum(timeout_count) AS timeout,'
                " sum(throttled_count) AS throttled"
                " FROM analytics.usage_hourly WHERE bucket_start >= $__timeFrom() AND bucket_start < $__timeTo()"
                " GROUP BY 1 ORDER BY 1"
            ),
        ),
        Panel(
            "Organisations with most failed calls",
            "Of the range; look at one in the usage dashboard.",
            "none",
            Sql(
                "SELECT org_id::text AS organisation, sum(error_count + timeout_count + throttled_count) AS failed,"
                " sum(invocations) AS calls"
                " FROM analytics.usage_hourly WHERE bucket_start >= $__timeFrom() AND bucket_start < $__timeTo()"
                " GROUP BY 1 ORDER BY 2 DESC LIMIT 20",
                "table",
            ),
            kind="table",
        ),
        Panel(
            "Calls",
            "Invocations per hour of all organisations.",
            "short",
            Sql(
                'SELECT bucket_start AS "time", sum(invocations) AS calls'
                " FROM analytics.usage_hourly WHERE bucket_start >= $__timeFrom() AND bucket_start < $__timeTo()"
                " GROUP BY 1 ORDER BY 1"
            ),
        ),
    ),
)

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
    ),
)

EXPORTS = Dashboard(
    uid="analytics-exports",
    title="Analytics / Exports",
    description="Exports to object storage: queue, duration, volume, failures.",
    panels=(
        Panel(
            "Queue",
            "Open exports of all replicas, by state.",
            "none",
            [Query("max by (status) (analytics_export_queue_jobs)", "{{status}}")],
        ),
        Panel(
            "Oldest waiting export",
            "How long it has been waiting; warns above 15 minutes.",
            "s",
            [Query("max(analytics_export_oldest_pending_age_seconds)", "age")],
            alert_above=900,
        ),
        Panel(
            "Ended exports",
            "In an hour, failed ones included.",
            "none",
            [Query("sum by (granularity) (increase(analytics_export_jobs_total[1h]))", "{{granularity}}")],
        ),
        Panel(
            "Failed exports",
            "In an hour, by the code that users see; two warn.",
            "none",
            [Query("sum by (code) (increase(analytics_export_jobs_failed_total[1h]))", "{{code}}")],
        ),
        Panel(
            "Duration",
            "From the start of a successful attempt to the finished object.",
            "s",
            spread("analytics_export_csv_generation_duration_seconds"),
        ),
        Panel(
            "Volume",
            "Bytes a second written by exports that succeeded.",
            "Bps",
            [Query("sum(rate(analytics_export_bytes_total[$__rate_interval]))", "bytes")],
        ),
    ),
)

SERVICES = Dashboard(
    uid="analytics-services",
    title="Analytics / Services",
    description="Rate, errors and duration of each service's requests, and how full it is.",
    panels=(
        Panel(
            "Requests",
            "Answered requests a second.",
            "reqps",
            [Query("sum by (job) (rate(http_requests_total[$__rate_interval]))", "{{job}}")],
        ),
        Panel(
            "Errors",
            "Share of requests answered with 5xx; pages above 5 %.",
            "percentunit",
            [
                Query(
                    "sum by (job) (rate(http_requests_failed_total[$__rate_interval]))"
                    " / sum by (job) (rate(http_requests_total[$__rate_interval]))",
                    "{{job}}",
                )
            ],
            alert_above=0.05,
        ),
        Panel(
            "Duration, 95th percentile",
            "Of all requests; warns above 2 s.",
            "s",
            [Query(quantile(0.95, "http_request_duration_seconds", "job"), "{{job}}")],
            alert_above=2,
        ),
        Panel(
            "Slowest routes",
            "95th percentile by route.",
            "s",
            [Query(f"topk(10, {quantile(0.95, 'http_request_duration_seconds', 'route')})", "{{route}}")],
        ),
        Panel(
            "Processor",
            "Cores in use by each replica.",
            "none",
            [Query("rate(process_cpu_seconds_total[$__rate_interval])", "{{job}} {{instance}}")],
        ),
        Panel(
            "Memory",
            "Resident memory of each replica.",
            "bytes",
            [Query("process_resident_memory_bytes", "{{job}} {{instance}}")],
        ),
        Panel(
            "Requests that wait for the database",
            "Always above 0: raise DATABASE_POOL_SIZE or add replicas. Refused ones were answered with 503.",
            "none",
            [
                Query("sum(analytics_query_waiting_requests)", "waiting"),
                Query("sum(rate(analytics_query_refused_total[$__rate_interval]))", "refused a second"),
            ],
        ),
        Panel(
            "Freshness cache",
            "Look-ups a second that found facts in Redis, and that did not.",
            "ops",
            [
                Query("sum(rate(analytics_freshness_cache_hits_total[$__rate_interval]))", "hits"),
                Query("sum(rate(analytics_freshness_cache_misses_total[$__rate_interval]))", "misses"),
            ],
        ),
        Panel(
            "Open files",
            "File descriptors in use by each replica: connections, mostly.",
            "none",
            [Query("process_open_fds", "{{job}} {{instance}}")],
        ),
    ),
)

DASHBOARDS = {
    "usage": USAGE,
    "reliability": RELIABILITY,
    "pipeline": PIPELINE,
    "exports": EXPORTS,
    "services": SERVICES,
}
