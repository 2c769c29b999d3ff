"""Rows of the database to points of a series: up to 10,000 of them in an answer, so each is built with few steps."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import msgspec

from analytics_core.buckets import is_finalized
from analytics_core.query.question import Dimension, Question
from analytics_core.units import MICROCENTS_PER_CENT
from analytics_query_api.latencies import EncodedHistogram, percentiles
from analytics_query_api.responses import Confidence, ReliabilityPoint, UsagePoint

NEVER_ABSENT = {Dimension.ORG, Dimension.MODEL, Dimension.STATUS}


def usage_points(rows: Sequence[Any], question: Question, watermark: datetime | None) -> list[UsagePoint]:
    """Points from rows of `USAGE_POINT`. By column, as most of the work is then a loop in C: 1 µs a point."""
    if not rows:
        return []
    head, columns, groups = _columns(rows, question, watermark)
    calls, errors, timeouts, throttled, revisions, *tokens, costs, revised = columns
    succeeded = map(_succeeded, calls, errors, timeouts, throttled)
    counts = (calls, succeeded, errors, timeouts, throttled, revisions)
    return list(map(UsagePoint, *head, *counts, *tokens, map(cents, costs), revised, *groups))


def reliability_points(rows: Sequence[Any], question: Question, watermark: datetime | None) -> list[ReliabilityPoint]:
    """Points from rows of `RELIABILITY_POINT`."""
    if not rows:
        return []
    head, columns, groups = _columns(rows, question, watermark)
    calls, errors, timeouts, throttled, revisions, _, _ = columns
    succeeded = list(map(_succeeded, calls, errors, timeouts, throttled))
    rates = [
        (all_calls - good) / all_calls if all_calls else None for all_calls, good in zip(calls, succeeded, strict=True)
    ]
    latencies = percentiles([histogram(row) for row in rows])
    counts = (calls, succeeded, errors, timeouts, throttled, revisions)
    return list(map(ReliabilityPoint, *head, *counts, rates, latencies, *groups))


def _columns(
    rows: Sequence[Any], question: Question, watermark: datetime | None
) -> tuple[list[Iterable[Any]], list[tuple[Any, ...]], list[Iterable[Any]]]:
    """The columns of the points' first fields, the rows' numbers as they are, and the columns of the last fields."""
    buckets, *columns = zip(*rows, strict=True)
    split = len(question.group_by)
    starts, confidences = zip(*map(bucket_labels(question, watermark), buckets), strict=True)
    given = dict(zip(question.group_by, columns[:split], strict=True))
    groups = [_shown(given[item], item) if item in given else repeat(msgspec.UNSET) for item in Dimension]
    return [starts, confidences], columns[split:], groups


def _shown(values: Iterable[Any], dimension: Dimension) -> Iterable[Any]:
    """Absent values as null."""
    return values if dimension in NEVER_ABSENT else (value or None for value in values)


def _succeeded(calls: int, errors: int, timeouts: int, throttled: int) -> int:
    return calls - errors - timeouts - throttled


def histogram(row: Any) -> EncodedHistogram:
    """The last two columns; nothing where no row was added up."""
    bins, counts = row[-2:]
    return bins or b"", counts or b""


def cents(microcents: int) -> Any:
    """An exact JSON number: a Decimal takes three times as long."""
    whole, fraction = divmod(microcents, MICROCENTS_PER_CENT)
    return msgspec.Raw((b"%d.%06d" % (whole, fraction)).rstrip(b"0") if fraction else b"%d" % whole)


def local_time(instant: datetime, question: Question) -> str:
    """RFC 3339 with the zone's offset; UTC is Z, as everywhere else in the answer."""
    if question.zone.key == "UTC":
        return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return instant.astimezone(question.zone).isoformat()


def bucket_labels(question: Question, watermark: datetime | None) -> Callable[[datetime], tuple[Any, Any]]:
    """Start and confidence of a bucket, made once for each."""
    bounds = question.bounds()
    # Buckets are finalized up to some time, none after it.
    finalized = bisect_left(bounds[1:], True, key=lambda end: not is_finalized(end, watermark))
    first_open = bounds[finalized] if bounds else None
    known: dict[datetime, tuple[Any, Any]] = {}

    def label(bucket: datetime) -> tuple[Any, Any]:
        found = known.get(bucket)
        if found is None:
            is_open = first_open is None or bucket >= first_open
            confidence = Confidence.ESTIMATED if is_open else Confidence.FINALIZED
            start = msgspec.Raw(b'"%s"' % local_time(bucket, question).encode())
            found = known[bucket] = (start, confidence)
        return found

    return label
