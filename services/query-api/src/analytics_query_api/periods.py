"""Times as callers write them."""

import re
from datetime import UTC, datetime

from analytics_core.query.zones import TIME_MAX, TIME_MIN

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
        time = datetime.fromisoformat(match["local"].upper() + offset).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such time") from None
    if not TIME_MIN <= time <= TIME_MAX:
        raise ValueError(f"expected a time from {TIME_MIN.year} to {TIME_MAX.year}")
    return time
