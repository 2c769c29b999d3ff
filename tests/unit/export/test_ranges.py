"""Which buckets an export holds."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.buckets import DAY, HOUR
from analytics_export.ranges import Granularity, first_bucket_from, months_touched

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BUCKETED = st.sampled_from([Granularity.HOURLY, Granularity.DAILY, Granularity.MONTHLY])
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=50_000)).map(lambda age: EPOCH + age)


def at(day: int, hour: int = 0, minute: int = 0, *, month: int = 3, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("granularity", "moment", "expected"),
    [
        (Granularity.HOURLY, at(1), at(1)),
        (Granularity.HOURLY, at(1, 10, 1), at(1, 11)),
        (Granularity.HOURLY, at(31, 23, 30), at(1, month=4)),
        (Granularity.DAILY, at(1), at(1)),
        (Granularity.DAILY, at(1, 0, 1), at(2)),
        (Granularity.MONTHLY, at(1, 0, 1), at(2)),
    ],
)
def test_a_range_begins_with_the_first_bucket_that_starts_in_it(
    granularity: Granularity, moment: datetime, expected: datetime
) -> None:
    """A bucket that began before the range is not counted, as in the usage API."""
    assert first_bucket_from(moment, granularity) == expected


def test_another_offset_is_the_same_moment() -> None:
    """Buckets are UTC, whatever the caller writes."""
    nepal = timezone(timedelta(hours=5, minutes=45))

    assert first_bucket_from(datetime(2026, 3, 1, 5, 45, tzinfo=nepal), Granularity.DAILY) == at(1)


@given(moment=MOMENTS, granularity=BUCKETED)
def test_a_bucket_starts_less_than_its_width_later(moment: datetime, granularity: Granularity) -> None:
    """No bucket is skipped and none is counted twice when ranges follow each other."""
    width = HOUR if granularity is Granularity.HOURLY else DAY

    first = first_bucket_from(moment, granularity)

    assert timedelta(0) <= first - moment < width
    assert (first - EPOCH) % width == timedelta(0)


@pytest.mark.parametrize(
    ("first", "after_last", "months"),
    [
        (at(1), at(1, month=4), 1),
        (at(31), at(2, month=4), 2),
        (at(1, month=1, year=2025), at(1, month=2), 13),
        (at(31, month=1, year=2025), at(2, month=2), 14),
    ],
)
def test_months_are_counted_as_a_calendar_shows_them(first: datetime, after_last: datetime, months: int) -> None:
    """Thirteen months back from a February end in a January, however many days that is."""
    assert months_touched(first, after_last) == months
