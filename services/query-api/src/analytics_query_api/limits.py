"""Every bound of the query API in one place."""

from datetime import timedelta

from analytics_core.query.zones import Granularity

# A range is bounded by the buckets that it may hold: 2,208 hours, or the whole raw retention by day and by month.
RANGE_MAX = {
    Granularity.HOUR: timedelta(days=92),
    Granularity.DAY: timedelta(days=400),
    Granularity.MONTH: timedelta(days=800),
}
# Across organisations every one of them adds its rows: 250 with 40 models have 1.7 million hours in a week.
PLATFORM_RANGE_MAX = {
    Granularity.HOUR: timedelta(days=7),
    Granularity.DAY: timedelta(days=92),
    Granularity.MONTH: timedelta(days=400),
}
# What has no series (attribution of errors, values of a dimension) reads whole days wherever it can.
SUMMARY_RANGE_MAX = timedelta(days=400)

# A week of 40 models by the hour is 6,720 points: one page.
PAGE_POINTS_DEFAULT = 10_000
PAGE_POINTS_MAX = 10_000
PAGE_ENTRIES_DEFAULT = 100
PAGE_ENTRIES_MAX = 1_000
FILL_GROUPS_MAX = 1_000

# A day by the hour of 40 models is 320 KB.
HELD_DAYS_BYTES_MAX = 64 * 2**20
HELD_DAYS_SECONDS_MAX = 600.0

FILTER_VALUES_MAX = 100
VALUE_CHARACTERS_MAX = 200
# A position holds one value of at most 800 bytes of UTF-8 for each of six dimensions, a bucket and a digest, in base64.
CURSOR_CHARACTERS_MAX = 8_000

# A refusal names the unknown parameters, not a whole URL full of them.
UNKNOWN_NAMED_MAX = 10
UNKNOWN_CHARACTERS_MAX = 100

# Requests that wait for a database connection hold memory and their callers' patience: after this many, or this long,
# the honest answer is "later".
WAITING_QUERIES_MAX = 64
WAITING_PER_TENANT_MAX = 16
WAITING_SECONDS_MAX = 5.0
TENANT_SHARE = 0.5
"""Of the connections: so many may work for one organisation at a time, so that a slow one leaves room for others."""

AUDIT_POOL_SIZE = 3
"""Connections for audit records: groups are written one after the other, one more makes links, one is for readiness."""
LIVE_LISTENERS_MAX = 1_000
LIVE_LISTENERS_PER_PRINCIPAL_MAX = 10
# As many as a page has: 60 ms of work after each fold.
LIVE_POINTS_MAX = 10_000
LIVE_CHANGES_KEPT = 256
LIVE_HEARTBEAT_SECONDS = 15.0
# A fold a second, and most of the 2 s until its numbers have to be out: one read serves all folds of this time.
LIVE_PAUSE_SECONDS = 0.3
# As many times as long as the read took, so that no stream takes more than a sixth of the process.
LIVE_PAUSE_SHARE = 5
LIVE_PAUSE_SECONDS_MAX = 1.0
LIVE_POLL_SECONDS = 15.0
# Without RabbitMQ nobody tells of folds.
LIVE_POLL_DEAF_SECONDS = 1.0
LIVE_LIFE_MAX = timedelta(hours=1)

AUDIT_LINKS_MAX = 1_000
AUDIT_LINK_PAUSE_SECONDS = 0.5
AUDIT_FINDINGS_MAX = 1_000
AUDIT_RECORDS_DEFAULT = 100
AUDIT_RECORDS_MAX = 1_000
AUDIT_RANGE_DEFAULT = timedelta(days=7)
AUDIT_FILTER_CHARACTERS_MAX = 500

# A cache that needs longer than this is no help: the query behind it takes 1 to 3 ms.
REDIS_TIMEOUT_SECONDS = 0.1
REDIS_PAUSE_SECONDS = 5.0
REDIS_CONNECTIONS_MAX = 16
