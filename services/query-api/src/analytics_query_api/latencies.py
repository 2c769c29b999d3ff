"""Percentiles of many latency histograms at once.

`analytics_core.histogram` defines the bins and the percentile; this is the same for thousands of sparse histograms,
read as PostgreSQL sends them. Bins may come in any order and more than once, as the fold leaves them.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from analytics_core.histogram import BIN_MAX, bin_latency_ms

BINS = BIN_MAX + 1
# Points merged together: 256 dense rows are 3.4 MB, whatever the size of the page.
CHUNK_POINTS = 256

# An element of an array as `array_send` writes it: its length in bytes, then the number; big-endian.
_SMALLINT = np.dtype([("length", ">i4"), ("value", ">i2")])
_BIGINT = np.dtype([("length", ">i4"), ("value", ">i8")])
_REPRESENTATIVE_MS = np.array([round(bin_latency_ms(index), 2) for index in range(BINS)])
_PERCENTS = (50, 90, 95, 99)

EncodedHistogram = tuple[bytes, bytes]
"""The elements of the bins and of the counts as PostgreSQL sends them, without the arrays' headers. Histograms of
several rows may follow each other."""


Percentile = Annotated[
    float | None, Meta(description="Milliseconds, nearest rank, at most 0.78 % off; null where there is no call.")
]


class LatencyPercentiles(msgspec.Struct, frozen=True):
    """Of all calls of a bucket or range, failed ones included."""

    p50: Percentile
    p90: Percentile
    p95: Percentile
    p99: Percentile


NO_CALLS = LatencyPercentiles(None, None, None, None)


def percentiles(histograms: Sequence[EncodedHistogram]) -> list[LatencyPercentiles]:
    """The percentiles of each histogram, in order."""
    found: list[LatencyPercentiles] = []
    for first in range(0, len(histograms), CHUNK_POINTS):
        found += _of_dense(_dense(histograms[first : first + CHUNK_POINTS]))
    return found


def merged(histograms: Sequence[EncodedHistogram]) -> EncodedHistogram:
    """One histogram of all calls."""
    return b"".join(bins for bins, _ in histograms), b"".join(counts for _, counts in histograms)


def _dense(histograms: Sequence[EncodedHistogram]) -> npt.NDArray[np.int64]:
    """A row for each histogram, a column for each bin."""
    all_bins, all_counts = merged(histograms)
    bins = np.frombuffer(all_bins, _SMALLINT)["value"].astype(np.int64)
    counts = np.frombuffer(all_counts, _BIGINT)["value"].astype(np.float64)
    lengths = [len(bins) // _SMALLINT.itemsize for bins, _ in histograms]
    rows = np.repeat(np.arange(len(histograms)), lengths)
    # Sums of doubles are exact up to 2**53 calls.
    dense = np.bincount(rows * BINS + bins, weights=counts, minlength=len(histograms) * BINS)
    return dense.astype(np.int64).reshape(len(histograms), BINS)


def _of_dense(dense: npt.NDArray[np.int64]) -> list[LatencyPercentiles]:
    cumulated = dense.cumsum(axis=1)
    calls = cumulated[:, -1]
    # Nearest rank, ceil(q · n), in integers; the bin is the first whose cumulated count reaches it.
    columns = [
        _REPRESENTATIVE_MS[np.minimum((cumulated < ((calls * percent + 99) // 100)[:, None]).sum(axis=1), BIN_MAX)]
        for percent in _PERCENTS
    ]
    return [
        LatencyPercentiles(*(float(column[row]) for column in columns)) if calls[row] else NO_CALLS
        for row in range(len(dense))
    ]
