"""When a bucket of a rollup counts as closed: rollup (revisions) and query-api (confidence) must agree on it."""

from datetime import datetime, timedelta

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

# How long after its end a bucket is still expected to change. Producers send within seconds; a router that retries
# from its disk buffer does so within minutes. Later events are counted all the same, as a revision.
SETTLE = timedelta(minutes=15)


def is_finalized(bucket_end: datetime, watermark: datetime | None) -> bool:
    """Whether everything accepted up to `SETTLE` after the bucket's end is visible; an unknown watermark says no."""
    return watermark is not None and bucket_end + SETTLE <= watermark
