"""Which buckets an export holds: those that start within [start, end), in UTC, as in the usage API.

A monthly row is the sum of its days, so a monthly export holds exactly the days of a daily one: a range that begins or
ends inside a month gets that part of the month.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from analytics_core.buckets import DAY, HOUR


class Granularity(StrEnum):
    """What a row of the file sums up; `events` is one row an event."""

    HOURLY = "hourly"
    DAILY = "daily"
    MONTHLY = "monthly"
    EVENTS = "events"

    @property
    def bucket_width(self) -> timedelta:
        """The width of the buckets that it is made of."""
        return HOUR if self is Granularity.HOURLY else DAY


def first_bucket_from(moment: datetime, granularity: Granularity) -> datetime:
    """The first start of a bucket that is not before the moment; for events the moment itself.

    Raises `OverflowError` at the end of time.
    """
    utc = moment.astimezone(UTC)
    if granularity is Granularity.EVENTS:
        return utc
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + -((midnight - utc) // granularity.bucket_width) * granularity.bucket_width


def months_touched(first: datetime, after_last: datetime) -> int:
    """In how many calendar months the days from `first` to the one before `after_last` lie."""
    last = after_last - DAY
    return (last.year - first.year) * 12 + last.month - first.month + 1
