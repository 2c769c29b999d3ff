"""Answers as bytes: JSON with exact decimals or CSV, and conditional requests."""

import hashlib
from functools import lru_cache
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from litestar.datastructures.headers import Accept
from litestar.openapi.datastructures import ResponseSpec

from analytics_core.http.money import JSON
from analytics_query_api.freshness import Freshness
from analytics_query_api.responses import (
    DimensionReport,
    ErrorReport,
    FreshnessReport,
    ReliabilityPoint,
    ReliabilityReport,
    UsagePoint,
    UsageReport,
)
from analytics_query_api.selection import Selection
from analytics_query_api.tabular import CSV, to_csv

Report = TypeVar("Report", ErrorReport, DimensionReport, FreshnessReport)
NOT_MODIFIED = {
    304: ResponseSpec(
        data_container=None, description="The caller holds this answer: its If-None-Match names the ETag of it."
    )
}
SERIES_ANSWERS = NOT_MODIFIED
# Private: the answer is one caller's. No-cache: ask again each time, with the ETag.
_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Accept"}


def answer_series(
    request: Request[Any, Any, Any], selection: Selection, report: UsageReport | ReliabilityReport
) -> Response[Any]:
    """The report as the caller wants it: JSON, or with `Accept: text/csv` the series alone, the next page as a link.

    The watermark alone makes no new answer: it moves every second, and an old one stays true.
    """
    # What grows with the page is encoded once; the rest, with and without the watermark, is small.
    given: Any = report.series
    series = given if isinstance(given, msgspec.Raw) else JSON.encode(given)
    rest = msgspec.structs.replace(report, series=[])
    digest = hashlib.sha256(JSON.encode(_still(rest)))
    digest.update(series)
    if wants_csv(request):
        digest.update(CSV.encode())
        kind = UsagePoint if isinstance(report, UsageReport) else ReliabilityPoint
        body = to_csv(report.series, kind, selection.question.group_by)
        headers = {"Link": f'<{_next_page(request, report.next_cursor)}>; rel="next"'} if report.next_cursor else {}
        return _conditional(request, body, CSV, digest.hexdigest(), headers)
    whole: Any = msgspec.structs.replace(rest, series=cast("Any", msgspec.Raw(series)))
    body = JSON.encode(whole)
    return _conditional(request, body, "application/json", digest.hexdigest(), {})


def wants_csv(request: Request[Any, Any, Any]) -> bool:
    """Whether the series is wanted as CSV; otherwise it is JSON."""
    return _prefers_csv(request.headers.get("accept", "*/*"))


@lru_cache(maxsize=64)
def _prefers_csv(accept: str) -> bool:
    return Accept(accept).best_match(["application/json", CSV]) == CSV


def answer(request: Request[Any, Any, Any], report: Report) -> Response[Report]:
    """The report as JSON; 304 without a body when the caller has said that it holds one that is still true.

    The watermark alone makes no new answer here either, in the report on freshness too: `lagSeconds` is what moves when
    the numbers fall behind, and 0 as long as none is missing.
    """
    digest = hashlib.sha256(JSON.encode(_still(report)))
    return _conditional(request, JSON.encode(report), "application/json", digest.hexdigest(), {})


def _still(report: Any) -> Any:
    """The report without what moves while it stays true."""
    if isinstance(report, Freshness):
        return msgspec.structs.replace(report, watermark=None)
    return msgspec.structs.replace(report, freshness=_still(report.freshness))


def _conditional(
    request: Request[Any, Any, Any], body: bytes, media_type: str, digest: str, headers: dict[str, str]
) -> Response[Any]:
    # The tag is weak, because parts of the body may be left out of it.
    etag = f'W/"{digest[:32]}"'
    headers = {"ETag": etag, **_HEADERS, **headers}
    if _matches(request.headers.getall("if-none-match", []), etag):
        return Response(None, status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def _next_page(request: Request[Any, Any, Any], cursor: str) -> str:
    """Relative, as a gateway may show another path than the service's own."""
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"?{urlencode([*others, ('cursor', cursor)])}"


def _matches(conditions: list[str], etag: str) -> bool:
    """RFC 9110, 13.1.2: weak comparison, so a `W/` more or less makes no difference."""
    given = [item.strip() for condition in conditions for item in condition.split(",")]
    return "*" in given or etag.removeprefix("W/") in {item.removeprefix("W/") for item in given}
