"""Every bound of the query API in one place."""

from datetime import timedelta

from analytics_query_api.periods import Granularity

# A range is bounded by the buckets that it may hold: 2,208 hours or 400 days, the whole raw retention by day.
RANGE_MAX = {Granularity.HOUR: timedelta(days=92), Granularity.DAY: timedelta(days=400)}

PAGE_POINTS_DEFAULT = 1_000
PAGE_POINTS_MAX = 10_000

MODEL_IDS_MAX = 100
MODEL_ID_CHARACTERS_MAX = 200
# A position holds one model id (at most 800 bytes of UTF-8), a bucket and two digests, in base64.
CURSOR_CHARACTERS_MAX = 1_500

# A refusal names the unknown parameters, not a whole URL full of them.
UNKNOWN_NAMED_MAX = 10
UNKNOWN_CHARACTERS_MAX = 100

# Requests that wait for a database connection hold memory and their callers' patience: after this many, or this long,
# the honest answer is "later".
WAITING_QUERIES_MAX = 64
WAITING_SECONDS_MAX = 5.0

AUDIT_POOL_SIZE = 3
"""Connections for audit records: groups are written one after the other, one more makes links, one is for readiness."""
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
