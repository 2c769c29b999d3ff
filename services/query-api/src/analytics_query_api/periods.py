"""Ranges of time as callers write them, and the UTC buckets that they cover."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from analytics_core.buckets import DAY, HOUR


class Granularity(StrEnum):
    """The width of the buckets of a series."""

    HOUR = "hour"
    DAY = "day"

    @property
    def width(self) -> timedelta:
        return HOUR if self is Granularity.HOUR else DAY


# A `+` that was not written as %2B arrives as a space; at this place it can mean nothing else.
_RFC_3339 = re.compile(
    r"(?P<local>\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:[Zz]|(?P<sign>[+\- ])(?P<offset>\d\d:\d\d))",
    re.ASCII,
)


def parse_time(text: str) -> datetime:
    """An RFC 3339 time with an offset, in UTC. Raises `ValueError` with a message for the caller."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError("expected an RFC 3339 time with an offset, such as 2026-03-01T00:00:00Z")
    offset = f"{match['sign'].replace(' ', '+')}{match['offset']}" if match["offset"] else "+00:00"
    try:
        return datetime.fromisoformat(match["local"].upper() + offset).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such time") from None


def last_bucket_end(end: datetime, granularity: Granularity) -> datetime:
    """The end of the last bucket that starts before `end`."""
    start_of_day = end.replace(hour=0, minute=0, second=0, microsecond=0)
    widths = -((start_of_day - end) // granularity.width)
    return start_of_day + widths * granularity.width
