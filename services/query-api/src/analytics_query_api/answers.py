"""Answers as bytes: exact decimals as JSON numbers, and conditional requests."""

import hashlib
from typing import Any, TypeVar, cast

import msgspec
from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec

from analytics_core.http.money import JSON
from analytics_query_api.responses import ReliabilityReport, UsageReport

Report = TypeVar("Report")
NOT_MODIFIED = {
    304: ResponseSpec(
        data_container=None, description="The caller holds this answer: its If-None-Match names the ETag of it."
    )
}
# Private: the answer is one caller's. No-cache: ask again each time, with the ETag.
_CACHE_CONTROL = "private, no-cache"


def answer_series(request: Request[Any, Any, Any], report: UsageReport | ReliabilityReport) -> Response[Any]:
    """Like `answer`, but the watermark alone makes no new answer: it moves every second, and an old one stays true."""
    still = msgspec.structs.replace(report, freshness=msgspec.structs.replace(report.freshness, watermark=None))
    return answer(request, report, same_as=still)


def answer(request: Request[Any, Any, Any], report: Report, *, same_as: object = None) -> Response[Report]:
    """The report as JSON; 304 without a body when the caller has said that it holds an equal one.

    Equal means that `same_as` (or the report) is: the tag is weak, because parts of the body may be left out of it.
    """
    body = JSON.encode(report)
    compared = body if same_as is None else JSON.encode(same_as)
    etag = f'W/"{hashlib.sha256(compared).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": _CACHE_CONTROL}
    if _matches(request.headers.getall("if-none-match", []), etag):
        return cast("Response[Report]", Response(None, status_code=304, headers=headers))
    return cast("Response[Report]", Response(body, media_type="application/json", headers=headers))


def _matches(conditions: list[str], etag: str) -> bool:
    """RFC 9110, 13.1.2: weak comparison, so a `W/` more or less makes no difference."""
    given = [item.strip() for condition in conditions for item in condition.split(",")]
    return "*" in given or etag.removeprefix("W/") in {item.removeprefix("W/") for item in given}
