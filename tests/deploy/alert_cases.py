"""When each alert has to fire and when not: made-up series, and what comes of them by the rules."""

from dataclasses import dataclass

JOB = 'job="analytics-query-api"'
OTHERS_UP = tuple(f'up{{job="analytics-{name}", instance="a"}} 1x600' for name in ("ingest", "rollup", "export"))

MESSAGES = "analytics_ingestion_stream_lag_messages"
# The owner's count, and that of a replica without the partition.
BACKLOGS = {"a": "0+20000x40", "b": "0x40"}


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


def retention(instance: str, values: str) -> tuple[str, ...]:
    of_one = f'job="analytics-rollup", instance="{instance}"'
    return (
        f"analytics_rollup_retention_last_success_timestamp{{{of_one}}} {values}",
        f"process_start_time_seconds{{{of_one}}} 30x600",
    )


def webhook_calls(outcome: str, values: str) -> tuple[str, ...]:
    return (f'analytics_export_webhook_calls_total{{outcome="{outcome}"}} {values}',)


def pair(alert: str, minute: int, firing: tuple[str, ...], quiet: tuple[str, ...]) -> tuple[Case, Case]:
    return Case(alert, True, minute, firing), Case(alert, False, minute, quiet)


CASES: tuple[Case, ...] = (
    *pair("AnalyticsServiceDown", 10, up("1x5 0x10"), up("1x20")),
    Case("AnalyticsServiceDown", True, 10, OTHERS_UP),
    *pair(
        "AnalyticsProcessRestarts",
        30,
        ('process_start_time_seconds{job="analytics-ingest", instance="a"} 0+300x40',),
        # A roll-out in place: one start of each of two replicas.
        tuple(f'process_start_time_seconds{{job="analytics-ingest", instance="{name}"}} 0x20 900x20' for name in "ab"),
    ),
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
        "AnalyticsBacklogGrows",
        30,
        tuple(f'{MESSAGES}{{partition="0", instance="{name}"}} {values}' for name, values in BACKLOGS.items()),
        # A backlog that is worked off, however large, ends by itself.
        (f'{MESSAGES}{{partition="0", instance="a"}} 9000000-100000x40',),
    ),
    Case("AnalyticsBacklogGrows", False, 30, (f'{MESSAGES}{{partition="0", instance="a"}} 0+2000x40',)),
    *pair(
        "AnalyticsReaderRestarts",
        40,
        ('analytics_ingestion_reader_restarts_total{reason="stalled"} 0+1x60',),
        # A broker that was away for two minutes, and a replica that others shut out.
        (
            'analytics_ingestion_reader_restarts_total{reason="not_connected"} 0x10 12 24x50',
            'analytics_ingestion_reader_restarts_total{reason="fenced"} 0+1x60',
        ),
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
    Case("AnalyticsUnfoldableBatches", True, 10, ("analytics_rollup_dimensions_unfoldable_batches 2x20",)),
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
        "AnalyticsDimensionsLag",
        30,
        ("analytics_rollup_dimensions_lag_seconds 0+60x40",),
        ("analytics_rollup_dimensions_lag_seconds 40x40",),
    ),
    # 500 minutes in, the last success at second 60 is more than eight hours old; one replica's success is enough.
    *pair(
        "AnalyticsRetentionStale",
        500,
        retention("a", "60x600"),
        (*retention("a", "60x600"), *retention("b", "60+60x600")),
    ),
    Case("AnalyticsRetentionStale", True, 500, retention("a", "0x600")),
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
        "AnalyticsExportLeftovers",
        90,
        ("analytics_export_unclean_jobs 0x10 2x100",),
        ("analytics_export_unclean_jobs 0x10 2x50 0x2 2x40",),
    ),
    *pair(
        "AnalyticsExportScheduleOverdue",
        1600,
        ("analytics_export_schedule_oldest_due_age_seconds 0+60x1700",),
        ("analytics_export_schedule_oldest_due_age_seconds 0+60x1500 0x200",),
    ),
    *pair(
        "AnalyticsExportPeriodsSkipped",
        20,
        ('analytics_export_schedule_periods_total{outcome="skipped"} 0x5 3x60',),
        ('analytics_export_schedule_periods_total{outcome="exported"} 0+1x60',),
    ),
    *pair(
        "AnalyticsWebhooksFail",
        80,
        (*webhook_calls("failed", "0+1x100"), *webhook_calls("delivered", "7x100")),
        (*webhook_calls("failed", "0+1x100"), *webhook_calls("delivered", "0x50 1x50")),
    ),
    *pair(
        "AnalyticsAuditUnlinked",
        30,
        ("analytics_audit_unlinked_age_seconds 0+60x40",),
        ("analytics_audit_unlinked_age_seconds 30x40",),
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
