"""Every bound of the export service in one place."""

from datetime import timedelta

MEBIBYTE = 1 << 20

# A month is no fixed time, so the longest monthly range is counted in months: all that the daily rollup keeps.
MONTHLY_MONTHS_MAX = 13
# What 13 months never pass: looked at before they are counted one by one.
MONTHLY_DAYS_MAX = timedelta(days=14 * 31)
FILTER_VALUES_MAX = 100
IDENTIFIER_CHARACTERS_MAX = 200
NAMES_SUGGESTED_MAX = 20
SUBJECT_CHARACTERS_MAX = 500

OPEN_JOBS_PER_ORG_MAX = 100
"""Jobs of one organisation that wait or run: the queue is shared, and a loop in a script must not fill it."""

IDEMPOTENCY_KEY_CHARACTERS_MAX = 255

PAGE_JOBS_DEFAULT = 50
PAGE_JOBS_MAX = 200
CURSOR_CHARACTERS_MAX = 100

ATTEMPTS_MAX = 5
RETRY_DELAY_MAX = timedelta(minutes=5)
ATTEMPT_MAX = timedelta(minutes=30)
"""One attempt, whatever it hangs on. 1,000,000 rows take about 4 s, so this is some hundred million rows."""

# Parts of one size (some stores insist on it) and at most 10,000 of them (S3's limit): an export has up to 52 GB.
PART_BYTES = 5 * MEBIBYTE
PART_BYTES_MIN_OF_S3 = 5 * MEBIBYTE
PARTS_MAX = 10_000
# One part being filled and two on their way keep reading and sending busy at the same time, in 15 MiB a job.
PARTS_IN_FLIGHT_MAX = 2

READ_BYTES = MEBIBYTE
S3_CONNECT_TIMEOUT_SECONDS = 5.0
S3_READ_TIMEOUT_SECONDS = 20.0
# Tries of one request; the job's own attempts cover longer outages.
S3_REQUEST_RETRIES = 2
SIGNED_URL_TTL_MAX = timedelta(days=7)
"""S3 signs for no longer."""

PROGRESS_SECONDS = 1.0
"""How often a running job says how far it is, and learns that it was canceled."""

FOLLOWERS_MAX = 200
"""Streams of events that one process keeps open; each costs a look at its job a second."""
FOLLOW_SECONDS_MAX = 900.0
FOLLOW_HEARTBEAT_SECONDS = 15.0

SWEPT_AT_ONCE_MAX = 100
STALE_UPLOAD_AGE = timedelta(hours=1)
STALE_UPLOADS_EVERY = timedelta(hours=1)

WEBHOOK_URL_CHARACTERS_MAX = 2_000
WEBHOOK_TIMEOUT_SECONDS = 10.0
WEBHOOK_CALLS_MAX = 4
WEBHOOK_ATTEMPTS_MAX = 10
WEBHOOK_RETRY_DELAY_MAX = timedelta(hours=1)

STOP_GRACE_SECONDS = 10.0
"""How long a stopping worker lets its jobs finish before it hands them back; HTTP drains in the same time."""
CLEAN_UP_SECONDS = 5.0

PERIOD_MIN = timedelta(hours=1)
CRON_CHARACTERS_MAX = 100
SCHEDULES_PER_ORG_MAX = 100
SCHEDULE_NAME_CHARACTERS_MAX = 100
CATCH_UP_PERIODS_MAX = 100
"""Missed periods that a schedule makes up for, the last ones; older ones are counted and given up."""
PERIODS_CHECKED = 13
"""The coming periods that a new schedule is tried with: a year of months."""

WAKE_UPS_WAITING_MAX = 1_000
QUEUE_GAUGE_SECONDS = 15.0
API_CONNECTIONS_MIN = 3

if STALE_UPLOAD_AGE <= ATTEMPT_MAX:
    raise ValueError("STALE_UPLOAD_AGE: an upload of a running attempt would be aborted")
if PART_BYTES < PART_BYTES_MIN_OF_S3:
    raise ValueError("PART_BYTES: S3 refuses parts below 5 MiB")

DIFFERENCES_SHOWN_MAX = 50
# A verification over HTTP is for one request's patience; the command line takes whatever there is.
VERIFIED_BYTES_MAX = 256 * MEBIBYTE
VERIFIED_PATIENCE = timedelta(seconds=20)
VERIFICATIONS_MAX = 2
MANIFEST_BYTES_MAX = MEBIBYTE
