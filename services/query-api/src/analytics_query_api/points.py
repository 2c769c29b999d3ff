"""Rows of the database to points of a series: up to 10,000 of them in an answer, so each is built with few steps."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from analytics_core.buckets import is_finalized
from analytics_core.query.question import Dimension, Question
from analytics_core.units import MICROCENTS_PER_CENT
from analytics_query_api.latencies import NO_CALLS, EncodedHistogram, percentiles
from analytics_query_api.responses import Confidence, ReliabilityPoint, UsagePoint

GROUPS = tuple(Dimension)
"""The order of the groups in a point."""
# By position, several fields at once: more than the type checker follows.
_usage_point: Callable[..., UsagePoint] = UsagePoint
_reliability_point: Callable[..., ReliabilityPoint] = ReliabilityPoint
_NEVER_ABSENT = {Dimension.ORG, Dimension.MODEL, Dimension.STATUS}


def usage_points(rows: Sequence[Any], question: Question, watermark: datetime | None) -> list[UsagePoint]:
    """Points from rows of `USAGE_POINT`."""
    start, group = bucket_labels(question, watermark), group_labels(question)
    split = 1 + len(question.group_by)
    points = []
    for row in rows:
        calls, errors, timeouts, throttled, revision, *tokens, cost, revised_at = row[split:]
        points.append(
            _usage_point(
                *start(row[0]),
                *group(row[1:split]),
                calls,
                calls - errors - timeouts - throttled,
                errors,
                timeouts,
                throttled,
                revision,
                *tokens,
                cents(cost),
                revised_at,
            )
        )
    return points


def reliability_points(rows: Sequence[Any], question: Question, watermark: datetime | None) -> list[ReliabilityPoint]:
    """Points from rows of `RELIABILITY_POINT`."""
    start, group = bucket_labels(question, watermark), group_labels(question)
    split = 1 + len(question.group_by)
    latencies = percentiles([histogram(row) for row in rows])
    points = []
    for row, latency in zip(rows, latencies, strict=True):
        calls, errors, timeouts, throttled, revision, *_ = row[split:]
        failed = errors + timeouts + throttled
        points.append(
            _reliability_point(
                *start(row[0]),
                *group(row[1:split]),
                calls,
                calls - failed,
                errors,
                timeouts,
                throttled,
                revision,
                failed / calls if calls else None,
                latency if calls else NO_CALLS,
            )
        )
    return points


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


def group_labels(question: Question) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """The groups of a row in the places that a point has for them, made once for each combination."""
    return labels_for(question.group_by, GROUPS)


def labels_for(
    group_by: Sequence[Dimension], places: Sequence[Dimension]
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Fills the places of these dimensions; absent values become null, other places stay out of the answer."""
    known: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def values(groups: tuple[Any, ...]) -> Iterator[Any]:
        given = dict(zip(group_by, groups, strict=True))
        for place in places:
            if place not in given:
                yield msgspec.UNSET
            else:
                yield given[place] or (given[place] if place in _NEVER_ABSENT else None)

    def label(groups: tuple[Any, ...]) -> tuple[Any, ...]:
        found = known.get(groups)
        if found is None:
            found = known[groups] = tuple(values(groups))
        return found

    return label
