"""Periods of schedules on the clocks of time zones: nothing left out, nothing twice, daylight saving included."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_export.calendars import Calendar, CalendarError, checked_calendar
from analytics_export.schedules import Period
from analytics_export.scheduling import period_name

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
# Gaps and repetitions of an hour and of half an hour, at night, at midnight and by a whole day.
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Africa/Cairo", "Asia/Beirut", "America/Havana",
     "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
)  # fmt: skip
CRONS = st.sampled_from(
    ["daily", "weekly", "monthly", "30 2 * * *", "30 1 * * *", "0 * * * *", "15 */6 * * *", "0 0 L * *", "0 0 1 1 *",
     "30 2 * * SUN", "0 3 29 2 *", "0 9 * * MON-FRI"]
)  # fmt: skip
MOMENTS = st.integers(0, 32 * 365 * 86_400).map(
    lambda seconds: datetime(2005, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
FIELDS = st.sampled_from(
    [
        "*",
        "0",
        "59",
        "*/5",
        "*/0",
        "L",
        "L/2",
        "LW",
        "MON#2",
        "MON#2/3",
        "5L/2",
        "1-5",
        "5-1",
        "31",
        "60",
        "a",
        "1,,2",
        "",
    ]
)


@given(ZONES, CRONS, MOMENTS)
@settings(max_examples=300, deadline=None)
def test_each_moment_lies_in_one_period(zone: str, cron: str, moment: datetime) -> None:
    """The period's start and the next one's are the same, from wherever they are asked for."""
    calendar = Calendar(cron, ZoneInfo(zone))
    start, end = calendar.at_or_before(moment), calendar.after(moment)

    assert start <= moment < end
    assert calendar.after(start) == end
    assert calendar.at_or_before(end) == end
    assert calendar.after(end - timedelta(microseconds=1)) == end


@given(st.lists(FIELDS, min_size=4, max_size=6).map(" ".join) | st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_calendar_or_refused(cron: str) -> None:
    """It comes from callers: nothing else may be raised."""
    calendar = None
    with suppress(CalendarError):
        calendar = checked_calendar(cron, ZoneInfo("Europe/Berlin"), NOW)

    assert calendar is None or calendar.after(NOW) - calendar.at_or_before(NOW) >= timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Berlin", (2026, 3, 29), 23), ("Europe/Berlin", (2026, 10, 25), 25),
     ("Australia/Lord_Howe", (2026, 10, 4), 23.5)],
)  # fmt: skip
def test_a_day_is_as_long_as_the_clocks_make_it(zone: str, day: tuple[int, int, int], hours: float) -> None:
    """From midnight to midnight."""
    calendar = Calendar("daily", ZoneInfo(zone))
    moment = datetime(*day, 10, tzinfo=ZoneInfo(zone))

    assert calendar.after(moment) - calendar.at_or_before(moment) == timedelta(hours=hours)


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 0 31 2 *", "0 0 * *", "0 0 0 * * *", "@daily", "", "hourly"])
def test_a_calendar_that_cannot_be_is_refused(cron: str) -> None:
    """Too often, never, no cron expression."""
    with pytest.raises(CalendarError):
        checked_calendar(cron, ZoneInfo("UTC"), NOW)


@pytest.mark.parametrize(
    ("cron", "name"),
    [("monthly", "202603"), ("daily", "20260305"), ("weekly", "20260302"), ("0 * * * *", "20260305T1300")],
)
def test_objects_are_named_by_their_period(cron: str, name: str) -> None:
    """As the people in that zone write it: at 12:00 UTC it is 13:00 in Berlin."""
    calendar = Calendar(cron, zone := ZoneInfo("Europe/Berlin"))

    assert period_name(Period(calendar.at_or_before(NOW), calendar.after(NOW)), zone) == name
