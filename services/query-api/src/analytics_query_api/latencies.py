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
# Points merged together: 256 dense rows are at most 3.4 MB, whatever the size of the page.
CHUNK_POINTS = 256

# An element of an array as `array_send` writes it: its length in bytes, then the number; big-endian.
_SMALLINT = np.dtype([("length", ">i4"), ("value", ">i2")])
BIGINT = np.dtype([("length", ">i4"), ("value", ">i8")])
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
        found += _percentiles(histograms[first : first + CHUNK_POINTS])
    return found


def merged(histograms: Sequence[EncodedHistogram]) -> EncodedHistogram:
    """One histogram of all calls."""
    return b"".join(bins for bins, _ in histograms), b"".join(counts for _, counts in histograms)


def _percentiles(histograms: Sequence[EncodedHistogram]) -> list[LatencyPercentiles]:
    all_bins, all_counts = merged(histograms)
    bins = np.frombuffer(all_bins, _SMALLINT)["value"].astype(np.int64)
    if not bins.size:
        return [NO_CALLS] * len(histograms)
    counts = np.frombuffer(all_counts, BIGINT)["value"].astype(np.float64)
    rows = np.repeat(np.arange(len(histograms)), [len(bins) // _SMALLINT.itemsize for bins, _ in histograms])
    # A row for each histogram, a column for each bin that may hold a call: latencies of a range share a few octaves.
    lowest = int(bins.min())
    width = int(bins.max()) - lowest + 1
    # Sums of doubles are exact up to 2**53 calls.
    dense = np.bincount(rows * width + (bins - lowest), weights=counts, minlength=len(histograms) * width)
    return _of_dense(dense.astype(np.int64).reshape(len(histograms), width), lowest)


def _of_dense(dense: npt.NDArray[np.int64], lowest: int) -> list[LatencyPercentiles]:
    cumulated = dense.cumsum(axis=1)
    calls = cumulated[:, -1]
    # Nearest rank, ceil(q · n), in integers; the bin is the first whose cumulated count reaches it.
    ranks = [((calls * percent + 99) // 100)[:, None] for percent in _PERCENTS]
    columns = [_REPRESENTATIVE_MS[lowest + (cumulated < rank).sum(axis=1)].tolist() for rank in ranks]
    return [
        LatencyPercentiles(*values) if has_calls else NO_CALLS
        for has_calls, *values in zip(calls.tolist(), *columns, strict=True)
    ]
