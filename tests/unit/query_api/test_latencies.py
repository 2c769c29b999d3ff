"""The fast merge against the plain one in the core, which is held against exact percentiles."""

import struct
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from analytics_core.histogram import BIN_MAX, merge, percentile_ms
from analytics_query_api.latencies import CHUNK_POINTS, NO_CALLS, EncodedHistogram, merged, percentiles

Histogram = list[tuple[int, int]]
# Bins in any order and more than once, as an appended histogram has them.
HISTOGRAMS = st.lists(st.tuples(st.integers(0, BIN_MAX), st.integers(1, 2**40)), max_size=12)


def encoded(histogram: Sequence[tuple[int, int]]) -> EncodedHistogram:
    """As PostgreSQL's array_send writes the elements."""
    return (
        b"".join(struct.pack(">ih", 2, index) for index, _ in histogram),
        b"".join(struct.pack(">iq", 8, count) for _, count in histogram),
    )


def plain(histogram: Sequence[tuple[int, int]]) -> list[float | None]:
    total = merge([([index for index, _ in histogram], [count for _, count in histogram])])
    values = [percentile_ms(total, quantile) for quantile in (0.5, 0.9, 0.95, 0.99)]
    return [None if value is None else round(value, 2) for value in values]


@given(histograms=st.lists(HISTOGRAMS, max_size=5))
def test_many_at_once_are_each_alone(histograms: list[Histogram]) -> None:
    found = percentiles([encoded(histogram) for histogram in histograms])

    assert [[one.p50, one.p90, one.p95, one.p99] for one in found] == [plain(histogram) for histogram in histograms]


@given(histograms=st.lists(HISTOGRAMS, max_size=5))
def test_merged_is_the_histogram_of_all_calls(histograms: list[Histogram]) -> None:
    (found,) = percentiles([merged([encoded(histogram) for histogram in histograms])])

    together = [entry for histogram in histograms for entry in histogram]
    assert [found.p50, found.p90, found.p95, found.p99] == plain(together)


def test_more_than_a_chunk_keeps_its_order() -> None:
    histograms = [[(index % 128, 1)] if index % 3 else [] for index in range(2 * CHUNK_POINTS + 7)]

    found = percentiles([encoded(histogram) for histogram in histograms])

    assert [one.p50 for one in found] == [float(index % 128) if index % 3 else None for index in range(len(histograms))]


def test_nothing_has_no_percentiles() -> None:
    assert percentiles([]) == []
    assert percentiles([encoded([])]) == [NO_CALLS]
