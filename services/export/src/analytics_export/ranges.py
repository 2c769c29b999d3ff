"""What a row of an export is about."""

from enum import StrEnum


class Granularity(StrEnum):
    """What a row of the file sums up; `events` is one row an event."""

    HOURLY = "hourly"
    DAILY = "daily"
    MONTHLY = "monthly"
    EVENTS = "events"
