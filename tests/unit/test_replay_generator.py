"""Made-up calls are the same for the same arguments, and look like a day of traffic."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tools.replay.calls import moment
from tools.replay.generator import generate

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def test_exactly_the_asked_number_in_order_and_in_range() -> None:
    """Tests count on the number, and on the order being that of time."""
    calls = list(generate(10_007, MONDAY, timedelta(hours=5, seconds=17), 1))
    times = [moment(call.occurred_us) for call in calls]

    assert len(calls) == 10_007
    assert times == sorted(times)
    assert times[0] >= MONDAY
    assert times[-1] < MONDAY + timedelta(hours=5, seconds=17)


@pytest.mark.parametrize(("count", "seconds"), [(1, 86_400), (3, 1), (100_000, 1), (1, 1)])
def test_few_calls_and_short_times_work_too(count: int, seconds: int) -> None:
    """Shares of minutes are rounded; none may get lost over it."""
    assert sum(1 for _ in generate(count, MONDAY, timedelta(seconds=seconds), 1)) == count


def test_the_same_seed_makes_the_same_calls() -> None:
    """A second run is a replay, another seed is other traffic."""
    assert list(generate(500, MONDAY, DAY, 7)) == list(generate(500, MONDAY, DAY, 7))
    assert list(generate(500, MONDAY, DAY, 7)) != list(generate(500, MONDAY, DAY, 8))


def test_afternoons_are_busier_than_nights_and_weekends_quieter() -> None:
    """Charts of the demo should look like a product in use."""
    hours = Counter(moment(call.occurred_us).hour for call in generate(50_000, MONDAY, DAY, 1))
    days = Counter(moment(call.occurred_us).weekday() for call in generate(50_000, MONDAY, timedelta(days=7), 1))

    assert hours[15] > 3 * hours[3]
    assert days[5] < 0.7 * days[2]


def test_tokens_are_positive_and_skewed() -> None:
    """Log-normal: the mean is far above the median, and no call has no tokens."""
    inputs = sorted(call.input_tokens for call in generate(20_000, MONDAY, DAY, 1))

    assert inputs[0] >= 1
    assert sum(inputs) / len(inputs) > 1.5 * inputs[len(inputs) // 2]


@pytest.mark.parametrize(("count", "duration"), [(0, DAY), (5, timedelta(0))])
def test_nothing_to_make_is_refused(count: int, duration: timedelta) -> None:
    """Better at the start than as a division by zero later."""
    with pytest.raises(ValueError, match="at least one"):
        list(generate(count, MONDAY, duration, 1))
