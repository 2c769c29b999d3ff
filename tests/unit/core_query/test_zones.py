"""Buckets of a time zone: each instant in exactly one, named as clocks name it."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.families import QUARTER
from analytics_core.query.zones import TIME_MIN, Granularity, bucket_bounds, parse_zone

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/St_Johns", "Pacific/Chatham", "Africa/Cairo", "America/Havana", "Pacific/Apia", "Asia/Beirut",
]  # fmt: skip
START = datetime(2000, 1, 1, tzinfo=UTC)


def bounds(start: str, end: str, granularity: Granularity, zone: str) -> list[str]:
    """As clocks of the zone show them."""
    found = bucket_bounds(datetime.fromisoformat(start), datetime.fromisoformat(end), granularity, ZoneInfo(zone))
    return [bound.astimezone(ZoneInfo(zone)).isoformat() for bound in found]


def label(instant: datetime, granularity: Granularity) -> tuple[object, ...]:
    """What clocks say that is the same throughout a bucket."""
    if granularity is Granularity.HOUR:
        return instant.date(), instant.hour, instant.utcoffset()
    return (instant.date(),) if granularity is Granularity.DAY else (instant.year, instant.month)


@settings(deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    granularity=st.sampled_from(Granularity),
    first=st.integers(0, 35 * 366 * 96),
    quarters=st.integers(1, 900),
)
def test_a_new_bucket_begins_where_clocks_say_so_and_nowhere_else(
    zone: str, granularity: Granularity, first: int, quarters: int
) -> None:
    start = START + first * QUARTER
    end = start + quarters * QUARTER
    found = bucket_bounds(start, end, granularity, ZoneInfo(zone))

    previous = (start - QUARTER).astimezone(ZoneInfo(zone))
    expected: list[datetime] = []
    instant = start
    while not expected or expected[-1] < end:
        local = instant.astimezone(ZoneInfo(zone))
        if label(local, granularity) != label(previous, granularity):
            expected.append(instant)
        previous, instant = local, instant + QUARTER

    assert list(found) == (expected if len(expected) > 1 else [])


def test_the_days_of_a_change_have_23_and_25_hours() -> None:
    spring = bucket_bounds(
        *_times("2026-03-28T23:00Z", "2026-03-29T22:00Z"), Granularity.DAY, ZoneInfo("Europe/Berlin")
    )
    autumn = bucket_bounds(
        *_times("2026-10-24T22:00Z", "2026-10-25T23:00Z"), Granularity.DAY, ZoneInfo("Europe/Berlin")
    )

    assert [later - earlier for earlier, later in pairwise(spring)] == [timedelta(hours=23)]
    assert [later - earlier for earlier, later in pairwise(autumn)] == [timedelta(hours=25)]


def test_an_hour_that_is_shown_twice_is_two_buckets() -> None:
    assert bounds("2026-10-25T00:00+00:00", "2026-10-25T02:00+00:00", Granularity.HOUR, "Europe/Berlin") == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_an_hour_cut_by_a_change_of_half_an_hour_is_a_short_bucket() -> None:
    """Lord Howe: clocks go from 02:00 to 02:30."""
    assert bounds("2026-10-03T14:30+00:00", "2026-10-03T17:00+00:00", Granularity.HOUR, "Australia/Lord_Howe") == [
        "2026-10-04T01:00:00+10:30",
        "2026-10-04T02:30:00+11:00",
        "2026-10-04T03:00:00+11:00",
        "2026-10-04T04:00:00+11:00",
    ]


def test_a_day_may_begin_after_midnight() -> None:
    """Cairo: clocks go from 00:00 to 01:00."""
    assert bounds("2026-04-23T00:00+00:00", "2026-04-24T12:00+00:00", Granularity.DAY, "Africa/Cairo") == [
        "2026-04-24T01:00:00+03:00",
        "2026-04-25T00:00:00+03:00",
    ]


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "europe/berlin", "UTC+1", "../../etc/passwd", "localtime", "\0", "a" * 5000]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="IANA time zone, such as UTC"):
        parse_zone(name)


def test_every_zone_has_offsets_of_whole_quarters_since_the_first_time_accepted() -> None:
    half_years = [TIME_MIN + timedelta(days=182 * number) for number in range(100)]
    odd = {
        name
        for name in available_timezones() - {"Factory", "localtime"}
        for instant in half_years
        if (instant.astimezone(ZoneInfo(name)).utcoffset() or timedelta()) % QUARTER
    }

    assert odd == set()


def _times(start: str, end: str) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(start), datetime.fromisoformat(end)
