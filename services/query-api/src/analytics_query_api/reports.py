"""Rows of the database to answers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from analytics_core.access import OrgScope
from analytics_core.buckets import is_finalized
from analytics_core.units import cents_from_microcents
from analytics_query_api.freshness import Freshness, ModelFacts, PipelineFacts, freshness
from analytics_query_api.latencies import EncodedHistogram, LatencyPercentiles, merged, percentiles
from analytics_query_api.paging import Position, encode_cursor
from analytics_query_api.periods import last_bucket_end
from analytics_query_api.responses import (
    Confidence,
    FreshnessReport,
    ModelFreshness,
    ReliabilityPoint,
    ReliabilityReport,
    ReliabilityTotals,
    UsagePoint,
    UsageReport,
    UsageTotals,
)
from analytics_query_api.selection import UTC_NAME, Selection


def usage_report(
    scope: OrgScope, selection: Selection, state: Freshness, rows: Sequence[Any], totals: Any
) -> UsageReport:
    """The answer for a page as `usage_page` and `usage_totals` gave it."""
    width = selection.granularity.width
    return UsageReport(
        **_report(scope, selection, state),
        series=[
            UsagePoint(**_usage(row), confidence=_confidence(row["bucket_start"] + width, state))
            for row in rows[: selection.limit]
        ],
        totals=UsageTotals(**_usage(totals), confidence=_confidence(_range_end(selection), state)),
        next_cursor=_next_cursor(rows, selection),
    )


def reliability_report(
    scope: OrgScope,
    selection: Selection,
    state: Freshness,
    rows: Sequence[Any],
    totals: Any,
    histograms: Sequence[EncodedHistogram],
) -> ReliabilityReport:
    """The answer for a page as `reliability_page`, `reliability_totals` and `range_histograms` gave it."""
    page, width = rows[: selection.limit], selection.granularity.width
    latencies = percentiles([(row["bins"], row["counts"]) for row in page])
    (range_latencies,) = percentiles([merged(histograms)])
    return ReliabilityReport(
        **_report(scope, selection, state),
        series=[
            ReliabilityPoint(**_reliability(row, latency), confidence=_confidence(row["bucket_start"] + width, state))
            for row, latency in zip(page, latencies, strict=True)
        ],
        totals=ReliabilityTotals(
            **_reliability(totals, range_latencies), confidence=_confidence(_range_end(selection), state)
        ),
        next_cursor=_next_cursor(rows, selection),
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


def _report(scope: OrgScope, selection: Selection, state: Freshness) -> dict[str, Any]:
    return {
        "org_id": scope.org_id,
        "granularity": selection.granularity,
        "timezone": UTC_NAME,
        "start": selection.start,
        "end": selection.end,
        "freshness": state,
    }


# The columns of a row are named as the fields of its answer: what is not handled here is passed on as it is.
def _usage(row: Any) -> dict[str, Any]:
    values = dict(row)
    values["cost_estimate_cents"] = cents_from_microcents(values.pop("cost_microcents"))
    values["success_count"] = values["invocations"] - _failed(values)
    return values


def _reliability(row: Any, latencies: LatencyPercentiles) -> dict[str, Any]:
    values = dict(row)
    values.pop("bins", None)
    values.pop("counts", None)
    failed, invocations = _failed(values), values["invocations"]
    values["success_count"] = invocations - failed
    values["error_rate"] = failed / invocations if invocations else None
    values["latency_ms"] = latencies
    return values


def _failed(values: Mapping[str, int]) -> int:
    """Every outcome but success."""
    return values["error_count"] + values["timeout_count"] + values["throttled_count"]


def _confidence(bucket_end: datetime, state: Freshness) -> Confidence:
    return Confidence.FINALIZED if is_finalized(bucket_end, state.watermark) else Confidence.ESTIMATED


def _range_end(selection: Selection) -> datetime:
    return last_bucket_end(selection.end, selection.granularity)


def _next_cursor(rows: Sequence[Any], selection: Selection) -> str | None:
    """Rows beyond the page's limit prove that there is a next one."""
    if len(rows) <= selection.limit:
        return None
    last = rows[selection.limit - 1]
    position = Position(last["bucket_start"], last["model_id"] if selection.by_model else None)
    return encode_cursor(position, selection.fingerprint)
