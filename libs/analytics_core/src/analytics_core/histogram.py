"""Latency histograms with log-linear bins: they add exactly, so any percentile of any range comes from rollups.

64 bins an octave (k = 6). Values below 128 ms have a bin of their own; above, a bin is at most 1/64 of its lower
bound wide, and the representative 2ab/(a+b) of a bin [a, b] is off by at most 0.78 % (DDSketch, VLDB 2019, applied to
linear sub-buckets as in HdrHistogram). `analytics.latency_bin` in SQL is the same function; a test holds them equal.
"""

from collections.abc import Iterable, Mapping
from math import ceil

_SUB_BUCKET_BITS = 6
_EXACT_BELOW = 1 << (_SUB_BUCKET_BITS + 1)
LATENCY_MS_MAX = 2**31 - 1
BIN_MAX = 1663
RELATIVE_ERROR_MAX = 1 / (2 * (1 << _SUB_BUCKET_BITS) + 1)


def latency_bin(latency_ms: int) -> int:
    """The bin of a latency of 0 to `LATENCY_MS_MAX` ms."""
    octave = max(0, latency_ms.bit_length() - _SUB_BUCKET_BITS - 1)
    return (octave << _SUB_BUCKET_BITS) + (latency_ms >> octave)


def bin_bounds(index: int) -> tuple[int, int]:
    """The smallest and the largest latency in ms that fall into a bin."""
    if index < _EXACT_BELOW:
        return index, index
    octave = (index >> _SUB_BUCKET_BITS) - 1
    low = (index - (octave << _SUB_BUCKET_BITS)) << octave
    return low, low + (1 << octave) - 1


def bin_latency_ms(index: int) -> float:
    """The representative of a bin: the value with the smallest worst relative error, 2ab/(a+b)."""
    low, high = bin_bounds(index)
    return float(low) if low == high else 2 * low * high / (low + high)


def merge(histograms: Iterable[tuple[Iterable[int], Iterable[int]]]) -> dict[int, int]:
    """The exact sum of sparse histograms given as (bins, counts)."""
    total: dict[int, int] = {}
    for bins, counts in histograms:
        for index, count in zip(bins, counts, strict=True):
            total[index] = total.get(index, 0) + count
    return total


def percentile_ms(histogram: Mapping[int, int], quantile: float) -> float | None:
    """The nearest-rank percentile (as PostgreSQL's `percentile_disc`) within `RELATIVE_ERROR_MAX`; None when empty."""
    calls = sum(histogram.values())
    if calls == 0:
        return None
    rank = max(1, ceil(quantile * calls))
    seen = 0
    for index in sorted(histogram):
        seen += histogram[index]
        if seen >= rank:
            return bin_latency_ms(index)
    raise AssertionError("unreachable: the rank is at most the number of calls")
