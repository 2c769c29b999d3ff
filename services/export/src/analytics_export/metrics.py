"""Every metric of the export service."""

from prometheus_client import Counter, Gauge, Histogram

from analytics_export.jobs import ErrorCode
from analytics_export.ranges import Granularity

JOBS = Counter("analytics_export_jobs_total", "Exports that ended, failed ones included.", ["granularity"])
JOBS_FAILED = Counter(
    "analytics_export_jobs_failed_total",
    "Exports that failed for good, by the code that their users see: storage_* and bucket_missing are mended in S3 or"
    " its settings, the log line export_failed has the rest.",
    ["code"],
)
ATTEMPTS_FAILED = Counter(
    "analytics_export_attempts_failed_total",
    "Failed attempts, most of which are tried again; the log line export_attempt_failed says why.",
    ["code"],
)
LEASES_LOST = Counter(
    "analytics_export_leases_lost_total",
    "Attempts given up because another worker had taken over: a frozen process, or EXPORT_LEASE is too short.",
)
CSV_DURATION = Histogram(
    "analytics_export_csv_generation_duration_seconds",
    "From the start of a successful attempt to the finished object: reading, formatting and sending overlap.",
    ["granularity"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0),
)
ROWS = Counter("analytics_export_rows_total", "Rows written by exports that succeeded.")
JOBS_CANCELED = Counter("analytics_export_jobs_canceled_total", "Exports that their users canceled.")
JOBS_EXPIRED = Counter("analytics_export_jobs_expired_total", "Exports whose file was removed after EXPORT_RETENTION.")
UNCLEAN_JOBS = Gauge(
    "analytics_export_unclean_jobs",
    "Ended exports whose leftovers are still to be removed from the storage; when it stays above 0, S3 refuses deletes"
    " or is away: the log line housekeeping_failed says why.",
)
BYTES = Counter("analytics_export_bytes_total", "Bytes written by exports that succeeded.")
QUEUE_JOBS = Gauge(
    "analytics_export_queue_jobs",
    "Open exports of all replicas; add replicas or EXPORT_WORKER_CONCURRENCY when pending ones pile up.",
    ["status"],
)
OLDEST_PENDING_AGE = Gauge(
    "analytics_export_oldest_pending_age_seconds",
    "How long the oldest waiting export has been waiting; 0 when none does.",
)

SCHEDULE_PERIODS = Counter(
    "analytics_export_schedule_periods_total",
    "Periods of schedules that got their export, or were skipped because too many had been missed.",
    ["outcome"],
)
SCHEDULE_DUE_AGE = Gauge(
    "analytics_export_schedule_oldest_due_age_seconds",
    "How long a schedule's period has been over without an export. Up to EXPORT_SCHEDULE_DEADLINE it may be waiting for"
    " late events; beyond that see lastError of the schedules and the log line schedule_without_job.",
)
WEBHOOK_CALLS = Counter(
    "analytics_export_webhook_calls_total",
    "Calls to webhooks: delivered, failed and to be repeated, given up. The log line webhook_not_delivered says why.",
    ["outcome"],
)

# An alert on an increase needs the series to exist before the first failure.
for _code in ErrorCode:
    JOBS_FAILED.labels(_code)
    ATTEMPTS_FAILED.labels(_code)
for _outcome in ("exported", "skipped"):
    SCHEDULE_PERIODS.labels(_outcome)
for _outcome in ("delivered", "failed", "given_up"):
    WEBHOOK_CALLS.labels(_outcome)
for _granularity in Granularity:
    JOBS.labels(_granularity)
    CSV_DURATION.labels(_granularity)
