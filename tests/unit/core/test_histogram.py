"""The latency histogram against exact answers."""

from itertools import pairwise
from math import ceil

from hypothesis import example, given
from hypothesis import strategies as st

from analytics_core.histogram import (
    BIN_MAX,
    LATENCY_MS_MAX,
    RELATIVE_ERROR_MAX,
    bin_bounds,
    bin_latency_ms,
    latency_bin,
    merge,
    percentile_ms,
)

latencies = st.integers(0, LATENCY_MS_MAX) | st.integers(0, 5_000)
samples = st.lists(latencies, min_size=1, max_size=200)


def histogram(values: list[int]) -> dict[int, int]:
    return merge(([latency_bin(value)], [1]) for value in values)


@given(latency_ms=latencies)
@example(0)
@example(127)
@example(128)
@example(LATENCY_MS_MAX)
def test_a_latency_lies_in_its_bin(latency_ms: int) -> None:
    """And the representative is no further off than promised."""
    index = latency_bin(latency_ms)
    low, high = bin_bounds(index)

    assert 0 <= index <= BIN_MAX
    assert low <= latency_ms <= high
    assert abs(bin_latency_ms(index) - latency_ms) <= RELATIVE_ERROR_MAX * latency_ms


def test_bins_follow_each_other_without_gap() -> None:
    """Each latency has exactly one bin, and the order of bins is the order of latencies."""
    bounds = [bin_bounds(index) for index in range(BIN_MAX + 1)]

    assert bounds[0][0] == 0
    assert bounds[-1][1] == LATENCY_MS_MAX
    assert all(high + 1 == next_low for (_, high), (next_low, _) in pairwise(bounds))


@given(one=samples, other=samples)
def test_histograms_add_exactly(one: list[int], other: list[int]) -> None:
    """The sum of two histograms is the histogram of all calls, in any order and however they are cut."""
    parts = [histogram(one), histogram(other)]
    together = merge((part.keys(), part.values()) for part in parts)

    assert together == histogram(other + one)
    assert sum(together.values()) == len(one) + len(other)


@given(values=samples, quantile=st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_percentiles_are_nearest_rank_within_the_error(values: list[int], quantile: float) -> None:
    """The same definition as PostgreSQL's percentile_disc."""
    exact = sorted(values)[max(1, ceil(quantile * len(values))) - 1]
    estimate = percentile_ms(histogram(values), quantile)

    assert estimate is not None
    assert abs(estimate - exact) <= RELATIVE_ERROR_MAX * exact


def test_no_calls_have_no_percentile() -> None:
    """0 ms would be an answer."""
    assert percentile_ms({}, 0.5) is None


def test_a_bin_may_come_several_times() -> None:
    """Rollups append to a histogram and merge it later."""
    assert merge([([3, 1, 3], [1, 2, 4])]) == {3: 5, 1: 2}
