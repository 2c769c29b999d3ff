"""The dashboards that read the rollups: usage and spend of an organisation, reliability of the platform."""

from tools.dashboards.panels import Dashboard, Panel, Sql

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
