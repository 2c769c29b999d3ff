"""Rows of the database to answers."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from analytics_core.access import OrgScope
from analytics_core.buckets import is_finalized
from analytics_core.query.question import Dimension, Question
from analytics_core.query.statements import Position
from analytics_query_api.freshness import Freshness, ModelFacts, PipelineFacts, freshness
from analytics_query_api.latencies import percentiles
from analytics_query_api.paging import encode_cursor
from analytics_query_api.points import NEVER_ABSENT, cents, reliability_points, usage_points
from analytics_query_api.queries.page import Page
from analytics_query_api.queries.series import Answer
from analytics_query_api.responses import (
    Confidence,
    DimensionReport,
    DimensionValue,
    ErrorGroup,
    ErrorReport,
    ErrorTotals,
    FreshnessReport,
    ModelFreshness,
    PreviousReliability,
    PreviousUsage,
    ReliabilityReport,
    ReliabilityTotals,
    UsageReport,
    UsageTotals,
)
from analytics_query_api.selection import Scope, Selection

_error_group: Callable[..., ErrorGroup] = ErrorGroup
"""By position, several fields at once: more than the type checker follows."""


def usage_report(scope: Scope, selection: Selection, answer: Answer[Page] | Answer[msgspec.Raw]) -> UsageReport:
    """The answer for a page of usage."""
    question, watermark = selection.question, answer.freshness.watermark
    points = answer.points
    series: Any = (
        points if isinstance(points, msgspec.Raw) else usage_points(points.first(selection.limit), question, watermark)
    )
    before = question.previous() if answer.previous is not None else question
    return UsageReport(
        **_series(scope, selection, answer),
        series=series,
        totals=_usage_totals(answer.totals, question, watermark),
        previous=msgspec.UNSET
        if answer.previous is None
        else PreviousUsage(
            start=before.start, end=before.end, totals=_usage_totals(answer.previous, before, watermark)
        ),
    )


def reliability_report(scope: Scope, selection: Selection, answer: Answer[Page]) -> ReliabilityReport:
    """The answer for a page of reliability."""
    question, watermark = selection.question, answer.freshness.watermark
    before = question.previous() if answer.previous is not None else question
    return ReliabilityReport(
        **_series(scope, selection, answer),
        series=reliability_points(answer.points.first(selection.limit), question, watermark),
        totals=_reliability_totals(answer.totals, question, watermark),
        previous=msgspec.UNSET
        if answer.previous is None
        else PreviousReliability(
            start=before.start, end=before.end, totals=_reliability_totals(answer.previous, before, watermark)
        ),
    )


def error_report(
    scope: OrgScope, selection: Selection, rows: Sequence[Any], totals: Any, state: Freshness
) -> ErrorReport:
    """The answer for a page of the attribution of failures."""
    question = selection.question
    failed_in_all = _failed(totals)
    groups = [
        _error_group(
            _failed(row),
            row["error_count"],
            row["timeout_count"],
            row["throttled_count"],
            _failed(row) / failed_in_all,
            row["first_event_at"],
            row["last_event_at"],
            *_error_groups(row, question),
        )
        for row in rows[: selection.limit]
    ]
    return ErrorReport(
        org_id=scope.org_id,
        start=question.start,
        end=question.end,
        errors=groups,
        totals=ErrorTotals(
            failed_count=failed_in_all,
            error_count=totals["error_count"],
            timeout_count=totals["timeout_count"],
            throttled_count=totals["throttled_count"],
            confidence=_confidence(question, state.watermark),
        ),
        freshness=state,
        next_cursor=_next_cursor(
            selection, len(rows), lambda: Position(_groups(rows[-2], question), failed=_failed(rows[-2]))
        ),
    )


def _error_groups(row: Any, question: Question) -> Iterator[Any]:
    """The values of the groups in the places that an entry has for them."""
    given = dict(zip(question.group_by, row, strict=False))
    for place in tuple(Dimension)[1:]:
        yield (given[place] if place in NEVER_ABSENT else given[place] or None) if place in given else msgspec.UNSET


def dimension_report(scope: OrgScope, selection: Selection, rows: Sequence[Any], state: Freshness) -> DimensionReport:
    """The answer for a page of the values of a dimension."""
    question = selection.question
    return DimensionReport(
        org_id=scope.org_id,
        dimension=question.group_by[0].value,
        start=question.start,
        end=question.end,
        values=[
            DimensionValue(row[0] or None, row["invocations"], row["last_event_at"]) for row in rows[: selection.limit]
        ],
        freshness=state,
        next_cursor=_next_cursor(selection, len(rows), lambda: Position(_groups(rows[-2], question))),
    )


def freshness_report(
    scope: OrgScope,
    pipeline: PipelineFacts,
    models: Sequence[ModelFacts],
    model_ids: Sequence[str],
    now: datetime,
) -> FreshnessReport:
    """The freshness of some models, or of all; unknown where none of them ever had an event."""
    chosen = [model for model in models if not model_ids or model.model_id in model_ids]
    overall = freshness(pipeline, chosen, now)
    return FreshnessReport(
        **msgspec.structs.asdict(overall),
        org_id=scope.org_id,
        entries=[
            ModelFreshness(
                model_id=model.model_id,
                last_event_at=model.last_event_at,
                last_rollup_at=model.last_rollup_at,
                lag_seconds=overall.lag_seconds,
                status=overall.status,
            )
            for model in chosen
        ],
    )


def _series(scope: Scope, selection: Selection, answer: Answer[Page] | Answer[msgspec.Raw]) -> dict[str, Any]:
    question, points = selection.question, answer.points
    return {
        "org_id": scope.org_id if isinstance(scope, OrgScope) else None,
        "granularity": question.granularity,
        "timezone": question.zone.key,
        "start": question.start,
        "end": question.end,
        "freshness": answer.freshness,
        "next_cursor": None
        if isinstance(points, msgspec.Raw)
        else _next_cursor(selection, len(points), lambda: points.position(selection.limit - 1)),
    }


def _usage_totals(row: Any, question: Question, watermark: datetime | None) -> UsageTotals:
    return UsageTotals(
        **_totals(row, question, watermark),
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        cost_estimate_cents=cents(row["cost_microcents"]),
    )


def _reliability_totals(row: Any, question: Question, watermark: datetime | None) -> ReliabilityTotals:
    (latencies,) = percentiles([(row["bins"] or b"", row["counts"] or b"")])
    return ReliabilityTotals(
        **_totals(row, question, watermark),
        error_rate=_failed(row) / row["invocations"] if row["invocations"] else None,
        latency_ms=latencies,
    )


def _totals(row: Any, question: Question, watermark: datetime | None) -> dict[str, Any]:
    return {
        "invocations": row["invocations"],
        "success_count": row["invocations"] - _failed(row),
        "error_count": row["error_count"],
        "timeout_count": row["timeout_count"],
        "throttled_count": row["throttled_count"],
        "confidence": _confidence(question, watermark),
    }


def _failed(row: Any) -> int:
    """Every outcome but success."""
    failed: int = row["error_count"] + row["timeout_count"] + row["throttled_count"]
    return failed


def _confidence(question: Question, watermark: datetime | None) -> Confidence:
    bounds = question.bounds()
    end = bounds[-1] if bounds else question.end
    return Confidence.FINALIZED if is_finalized(end, watermark) else Confidence.ESTIMATED


def _groups(row: Any, question: Question) -> tuple[str, ...]:
    return tuple(str(value) for value in row[: len(question.group_by)])


def _next_cursor(selection: Selection, found: int, last: Callable[[], Position]) -> str | None:
    """The row beyond the page's limit proves that there is a next one; `last` is behind the one before it."""
    return None if found <= selection.limit else encode_cursor(last(), selection.fingerprint)
