"""Buckets of a range."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_query_api.periods import Granularity, last_bucket_end
from analytics_query_api.queries.reliability import cover

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
MINUTES = st.integers(0, 6 * 24 * 60).map(lambda minutes: MIDNIGHT + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("granularity", "end_hour", "expected_hour"),
    [
        (Granularity.HOUR, 5, 5),
        (Granularity.HOUR, 5.01, 6),
        (Granularity.HOUR, 0, 0),
        (Granularity.DAY, 0, 0),
        (Granularity.DAY, 0.01, 24),
        (Granularity.DAY, 23.99, 24),
    ],
)
def test_the_last_bucket_starts_before_the_end(granularity: Granularity, end_hour: float, expected_hour: int) -> None:
    end = MIDNIGHT + timedelta(hours=end_hour)

    assert last_bucket_end(end, granularity) == MIDNIGHT + timedelta(hours=expected_hour)


@given(start=MINUTES, end=MINUTES)
def test_whole_days_and_the_hours_around_them_cover_each_hour_once(start: datetime, end: datetime) -> None:
    """Counted twice or not at all, an hour at the border would bend the percentiles of the range."""
    if start >= end:
        start, end = end, start + timedelta(minutes=1)
    hours = [MIDNIGHT + timedelta(hours=hour) for hour in range(-24, 8 * 24)]

    covered = [
        hour
        for granularity, part_start, part_end in cover(Granularity.HOUR, start, end)
        for hour in hours
        if part_start <= (hour if granularity is Granularity.HOUR else hour.replace(hour=0)) < part_end
    ]

    assert sorted(covered) == [hour for hour in hours if start <= hour < end]


def test_days_are_taken_as_days() -> None:
    start, end = MIDNIGHT + timedelta(hours=3), MIDNIGHT + timedelta(days=2)

    assert cover(Granularity.DAY, start, end) == [(Granularity.DAY, start, end)]
