"""What is held of days: as it is now or not at all, and never more than there is room for."""

from datetime import UTC, datetime
from time import monotonic
from uuid import UUID

from analytics_core.query.question import Dimension, Question, only
from analytics_core.query.zones import UTC_ZONE, Granularity
from analytics_query_api.days import DAY_BYTES, Day, DayKey, HeldDays

SIZE = DAY_BYTES + 10
START = datetime(2026, 3, 10, tzinfo=UTC)


def key(number: int) -> DayKey:
    return DayKey(UUID(int=number), Question(START, START, Granularity.HOUR, UTC_ZONE), START)


def day(version: int, size: int = 10, age_s: float = 0) -> Day:
    return Day(version, 1, b"x" * size, {}, monotonic() - age_s)


def test_a_day_of_another_version_is_not_found() -> None:
    held = HeldDays(2 * SIZE, 60)
    held.hold(key(1), day(7))

    assert held.find(key(1), 7) is not None
    assert held.find(key(1), 8) is None
    assert held.find(key(2), 7) is None


def test_a_day_that_was_read_long_ago_is_not_found() -> None:
    held = HeldDays(2 * SIZE, 60)
    held.hold(key(1), day(7, age_s=61))

    assert held.find(key(1), 7) is None


def test_a_new_version_takes_the_place_of_the_old_one() -> None:
    """And its room: a day that changes every second does not push the others out."""
    held = HeldDays(3 * SIZE, 60)
    held.hold(key(1), day(1))
    for version in range(100):
        held.hold(key(2), day(version))

    assert held.find(key(1), 1) is not None
    assert len(held) == 2


def test_the_day_that_nobody_asked_for_longest_goes_first() -> None:
    held = HeldDays(3 * SIZE, 60)
    for number in range(3):
        held.hold(key(number), day(1))
    held.find(key(0), 1)
    held.hold(key(3), day(1))

    assert [held.find(key(number), 1) is not None for number in range(4)] == [True, False, True, True]


def test_a_day_larger_than_all_room_is_not_held() -> None:
    held = HeldDays(3 * SIZE, 60)
    held.hold(key(1), day(1))
    held.hold(key(2), day(1, size=2 * SIZE + 11))

    assert len(held) == 0
    held.hold(key(3), day(1, size=2 * SIZE + 10))
    assert len(held) == 1


def test_days_without_points_take_room() -> None:
    """Or somebody who asks for what nobody has, in ever new words, could fill the memory."""
    held = HeldDays(10 * DAY_BYTES, 60)
    for number in range(1_000):
        held.hold(key(number), day(0, size=0))
    assert len(held) == 10

    wordy = Question(START, START, Granularity.HOUR, UTC_ZONE, only(Dimension.MODEL, ["x" * 200] * 100))
    held.hold(DayKey(UUID(int=0), wordy, START), day(0, size=0))
    assert len(held) == 0
