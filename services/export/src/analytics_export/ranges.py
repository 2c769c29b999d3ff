"""Which buckets an export holds: those that start within [start, end), in UTC, as in the usage API."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from analytics_core.buckets import DAY, HOUR


class Granularity(StrEnum):
    """The width of a row's bucket."""

    HOURLY = "hourly"
    DAILY = "daily"
    MONTHLY = "monthly"


def first_bucket_from(moment: datetime, granularity: Granularity) -> datetime:
    """The first start of a bucket that is not before the moment. Raises `OverflowError` at the end of time."""
    utc = moment.astimezone(UTC)
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    if granularity is Granularity.MONTHLY:
        first = midnight.replace(day=1)
        return first if first == utc else add_months(first, 1)
    width: timedelta = HOUR if granularity is Granularity.HOURLY else DAY
    return midnight + -((midnight - utc) // width) * width


def add_months(first_of_month: datetime, months: int) -> datetime:
    """The first of the month so many months later. Raises `OverflowError` at the end of time."""
    years, month = divmod(first_of_month.month - 1 + months, 12)
    try:
        return first_of_month.replace(year=first_of_month.year + years, month=month + 1)
    except ValueError:
        raise OverflowError("there is no such year") from None
