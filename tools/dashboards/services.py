"""The dashboards of exports, and of all services' requests."""

from tools.dashboards.panels import Dashboard, Panel, Query, quantile, spread

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
        Panel(
            "Attempts that failed, leases lost",
            "In an hour; most attempts are made again. Lost leases: frozen processes, or EXPORT_LEASE is too short.",
            "none",
            [
                Query("sum by (code) (increase(analytics_export_attempts_failed_total[1h]))", "{{code}}"),
                Query("sum(increase(analytics_export_leases_lost_total[1h]))", "leases lost"),
            ],
        ),
        Panel(
            "Canceled, expired, and what is left of them",
            "Exports canceled and files expired in an hour; ended exports with leftovers in the object store warn.",
            "none",
            [
                Query("sum(increase(analytics_export_jobs_canceled_total[1h]))", "canceled"),
                Query("sum(increase(analytics_export_jobs_expired_total[1h]))", "expired"),
                Query("max(analytics_export_unclean_jobs)", "with leftovers"),
            ],
        ),
        Panel(
            "Schedules: oldest due period",
            "How long a period has been over without its export; up to a day it may wait for late events.",
            "s",
            [Query("max(analytics_export_schedule_oldest_due_age_seconds)", "age")],
            alert_above=93600,
        ),
        Panel(
            "Schedules: periods",
            "Periods that got their export in an hour, and those that were skipped, which warns.",
            "none",
            [Query("sum by (outcome) (increase(analytics_export_schedule_periods_total[1h]))", "{{outcome}}")],
        ),
        Panel(
            "Webhooks",
            "Calls in an hour: delivered, failed and to be repeated, given up.",
            "none",
            [Query("sum by (outcome) (increase(analytics_export_webhook_calls_total[1h]))", "{{outcome}}")],
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
            "Look-ups in Redis",
            "Time of one, half and one in a hundred; slow ones: Redis is busy or far away.",
            "s",
            spread("analytics_freshness_cache_lookup_seconds"),
        ),
        Panel(
            "Trouble with Redis",
            "Failed calls a second of the freshness cache, and services that limit rates in each replica alone.",
            "none",
            [
                Query("sum(rate(analytics_freshness_cache_errors_total[$__rate_interval]))", "cache errors a second"),
                Query("max by (job) (analytics_rate_limits_local)", "limits alone: {{job}}"),
            ],
        ),
        Panel(
            "Requests over their rate",
            "Answered with 429, a second, by kind.",
            "reqps",
            [
                Query(
                    "sum by (job, kind) (rate(analytics_rate_limited_requests_total[$__rate_interval]))",
                    "{{job}} {{kind}}",
                )
            ],
        ),
        Panel(
            "Audit chain",
            "Links a second, and the age of the oldest record without one; warns above 10 minutes.",
            "none",
            [
                Query("sum(rate(analytics_audit_links_total[$__rate_interval]))", "links a second"),
                Query("max(analytics_audit_unlinked_age_seconds)", "oldest without, seconds"),
            ],
        ),
        Panel(
            "Live streams",
            "Open streams of changes (a replica refuses the 1,001st), and queries a second that serve them.",
            "none",
            [
                Query("sum(analytics_live_listeners)", "open"),
                Query("sum(rate(analytics_live_reads_total[$__rate_interval]))", "queries a second"),
            ],
        ),
        Panel(
            "Days of usage by the hour",
            "Days a second that dashboards' questions were made of: held in memory since the last time, or read anew.",
            "none",
            [
                Query("sum(rate(analytics_query_days_held_total[$__rate_interval]))", "held"),
                Query("sum(rate(analytics_query_days_read_total[$__rate_interval]))", "read"),
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
