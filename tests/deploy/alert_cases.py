"""When each alert has to fire and when not: made-up series, and what comes of them by the rules."""

from dataclasses import dataclass

JOB = 'job="analytics-query-api"'
OTHERS_UP = tuple(f'up{{job="analytics-{name}", instance="a"}} 1x600' for name in ("ingest", "rollup", "export"))


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation (a value a minute), and whether the alert fires at `minute`."""

    alert: str
    fires: bool
    minute: int
    series: tuple[str, ...]


def up(values: str) -> tuple[str, ...]:
    return (f'up{{job="analytics-query-api", instance="a"}} {values}', *OTHERS_UP)


def requests(total: str, failed: str) -> tuple[str, ...]:
    return (
        f'http_requests_total{{{JOB}, status="200"}} {total}',
        f'http_requests_failed_total{{{JOB}, status="503"}} {failed}',
    )


def durations(fast_bound: str, fast: str, total: str) -> tuple[str, ...]:
    return (
        f'http_request_duration_seconds_bucket{{{JOB}, le="{fast_bound}"}} {fast}',
        f'http_request_duration_seconds_bucket{{{JOB}, le="10"}} {total}',
        f'http_request_duration_seconds_bucket{{{JOB}, le="+Inf"}} {total}',
    )


def pair(alert: str, minute: int, firing: tuple[str, ...], quiet: tuple[str, ...]) -> tuple[Case, Case]:
    return Case(alert, True, minute, firing), Case(alert, False, minute, quiet)


CASES: tuple[Case, ...] = (
    *pair("AnalyticsServiceDown", 10, up("1x5 0x10"), up("1x20")),
    Case("AnalyticsServiceDown", True, 10, OTHERS_UP),
    *pair("AnalyticsHighErrorRate", 15, requests("0+100x60", "0+6x60"), requests("0+100x60", "0+4x60")),
    # A rate that is back below the bound after three minutes pages nobody.
    Case("AnalyticsHighErrorRate", False, 12, requests("0+100x60", "0x5 50 50x60")),
    *pair("AnalyticsHighLatencyP95", 20, durations("2", "0+90x60", "0+100x60"), durations("2", "0+97x60", "0+100x60")),
    *pair("AnalyticsHighLatencyP99", 15, durations("5", "0+98x60", "0+100x60"), durations("5", "0+100x60", "0+100x60")),
    *pair(
        "AnalyticsIngestionLag",
        10,
        ('analytics_ingestion_stream_lag_seconds{partition="0", instance="a"} 0+60x20',),
        ('analytics_ingestion_stream_lag_seconds{partition="0", instance="a"} 2x20',),
    ),
    *pair(
        "AnalyticsPartitionStopped",
        5,
        ('analytics_ingestion_stopped{partition="0", instance="a"} 1x10',),
        ('analytics_ingestion_stopped{partition="0", instance="a"} 0x10',),
    ),
    *pair(
        "AnalyticsPartitionWithoutOwner",
        6,
        tuple(f'analytics_ingestion_lease_owner{{partition="0", instance="{name}"}} 0x10' for name in "ab"),
        (
            'analytics_ingestion_lease_owner{partition="0", instance="a"} 0x10',
            'analytics_ingestion_lease_owner{partition="0", instance="b"} 1x10',
        ),
    ),
    *pair(
        "AnalyticsStreamGap",
        20,
        ('analytics_ingestion_gaps_total{partition="0"} 0x5 1x20',),
        ('analytics_ingestion_gaps_total{partition="0"} 3x30',),
    ),
    *pair(
        "AnalyticsDeadLetters",
        30,
        ('analytics_ingestion_dead_letters_total{reason="not_json"} 0+20x40',),
        ('analytics_ingestion_dead_letters_total{reason="not_json"} 0+1x40',),
    ),
    *pair(
        "AnalyticsDedupeConflicts",
        30,
        ("analytics_ingestion_dedupe_conflicts_total 0+20x40",),
        ("analytics_ingestion_dedupe_conflicts_total 0+1x40",),
    ),
    *pair(
        "AnalyticsFencedWriters",
        30,
        ("analytics_ingestion_fenced_total 0+1x40",),
        ("analytics_ingestion_fenced_total 0x10 1x30",),
    ),
    *pair(
        "AnalyticsFreshnessLag",
        30,
        ("analytics_freshness_lag_seconds 0+60x40",),
        ("analytics_freshness_lag_seconds 3x40",),
    ),
    *pair(
        "AnalyticsRollupStalled",
        30,
        ("analytics_rollup_oldest_unfolded_age_seconds 0+60x40",),
        ("analytics_rollup_oldest_unfolded_age_seconds 1x40",),
    ),
    *pair(
        "AnalyticsUnfoldableBatches",
        10,
        ("analytics_rollup_unfoldable_batches 1x20",),
        ("analytics_rollup_unfoldable_batches 0x20",),
    ),
    *pair(
        "AnalyticsReconcileDrift",
        5,
        ("analytics_rollup_reconcile_drift 0x2 4x20",),
        ("analytics_rollup_reconcile_drift 0x20",),
    ),
    # promtool's clock begins at the epoch: 100 minutes in, the last success at second 60 is 99 minutes old.
    *pair(
        "AnalyticsReconcileStale",
        100,
        ("analytics_rollup_reconcile_last_success_timestamp 60x200",),
        ("analytics_rollup_reconcile_last_success_timestamp 60+60x200",),
    ),
    *pair(
        "AnalyticsExportFailures",
        50,
        ('analytics_export_jobs_failed_total{code="storage_unavailable"} 0x5 1x10 2x60',),
        ('analytics_export_jobs_failed_total{code="storage_unavailable"} 0x5 1x60',),
    ),
    *pair(
        "AnalyticsExportQueueOld",
        40,
        ("analytics_export_oldest_pending_age_seconds 0+60x60",),
        ("analytics_export_oldest_pending_age_seconds 20x60",),
    ),
    *pair(
        "AnalyticsRateLimitsLocal",
        15,
        (
            f'analytics_rate_limits_local{{{JOB}, instance="a"}} 0x20',
            f'analytics_rate_limits_local{{{JOB}, instance="b"}} 1x20',
        ),
        (f'analytics_rate_limits_local{{{JOB}, instance="a"}} 1x5 0x2 1x20',),
    ),
    *pair(
        "AnalyticsAvailabilityBurnsFast", 70, requests("0+1000x120", "0+20x120"), requests("0+1000x120", "0+0.5x120")
    ),
    # Below one request in ten seconds a single failure is no burn.
    Case("AnalyticsAvailabilityBurnsFast", False, 70, requests("0+2x120", "0+1x120")),
    *pair(
        "AnalyticsAvailabilityBurnsSlowly",
        1500,
        requests("0+1000x1600", "0+4x1600"),
        requests("0+1000x1600", "0+0.5x1600"),
    ),
    *pair(
        "AnalyticsFreshnessBurnsFast",
        90,
        ("analytics_freshness_lag_seconds 5x20 90x100",),
        ("analytics_freshness_lag_seconds 5x30 90x2 5x100",),
    ),
)
