"""When a bucket is closed, and how far the numbers are behind: two services must give the same answer."""

from datetime import datetime, timedelta

import pytest

from analytics_core.buckets import HOUR, SETTLE, is_finalized
from analytics_core.freshness import HEARTBEAT_TOLERANCE, visible_lag
from analytics_core.testing.builders import NOON

TICK = timedelta(microseconds=1)
ZERO = timedelta(0)


@pytest.mark.parametrize(
    ("watermark", "expected"),
    [
        (None, False),
        (NOON + HOUR, False),
        (NOON + HOUR + SETTLE - TICK, False),
        (NOON + HOUR + SETTLE, True),
        (NOON + 9 * HOUR, True),
    ],
)
def test_a_bucket_is_final_when_the_watermark_says_so(watermark: datetime | None, expected: bool) -> None:
    """Not when the clock does: while nobody knows what is missing nothing is final."""
    assert is_finalized(NOON + HOUR, watermark) == expected


def test_lag_is_unknown_without_a_watermark() -> None:
    """Never invented."""
    assert visible_lag(None, NOON, unfolded=False) is None
    assert visible_lag(None, NOON, unfolded=True) is None


def test_a_young_watermark_with_nothing_waiting_is_now() -> None:
    """A heartbeat's age is no lag."""
    assert visible_lag(NOON - HEARTBEAT_TOLERANCE, NOON, unfolded=False) == ZERO
    assert visible_lag(NOON - HEARTBEAT_TOLERANCE - TICK, NOON, unfolded=False) == HEARTBEAT_TOLERANCE + TICK


def test_a_waiting_batch_is_lag_from_the_first_moment() -> None:
    """However young: somebody's event is not visible."""
    assert visible_lag(NOON - TICK, NOON, unfolded=True) == TICK


def test_a_clock_that_is_behind_the_brokers_gives_no_negative_lag() -> None:
    """Clocks of two machines differ."""
    assert visible_lag(NOON + HOUR, NOON, unfolded=True) == ZERO
