"""An event's way through four processes, as a collector and the processes' logs see it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import httpx
import pytest

from analytics_core.testing.builders import usage_event
from tests.e2e.platform import Platform, wait_until
from tests.support.otlp import Collector, Context, SeenSpan

ORG = "9a1c7a52-51a7-4f0e-8a51-3f2f4f0b7c12"


@pytest.fixture(scope="module")
def running(traced: Platform) -> Platform:
    return traced.start_all()


def test_an_event_is_followed_from_its_request_to_the_answer_that_shows_it(
    running: Platform, collector: Collector
) -> None:
    """The producer's trace goes on to the stream; batch, fold and answer each link to the step before."""
    caller = new_context()
    event = usage_event(orgId=ORG, occurredAt=datetime.now(UTC).isoformat())
    posted = call(running, "ingest", "POST", "/events", caller, json=event)
    assert posted.status_code == 202, posted.text
    running.wait_until_visible(1)
    asker = new_context()
    assert totals(running, asker)["invocations"] == 1

    request = the(collector, lambda: collector.named("POST /analytics/v1/events"))
    published = the(collector, lambda: collector.named("publish events"))
    batch = the(collector, lambda: collector.linked_to("ingest batch", published.context))
    fold = the(collector, lambda: collector.linked_to("fold", batch.context))
    the(collector, lambda: collector.linked_to("fold_dimensions", batch.context))
    answer = the(collector, lambda: collector.linked_to("GET /analytics/v1/orgs/{orgId}/usage", fold.context))
    assert (request.context[0], request.parent) == caller
    assert (published.context[0], published.parent) == request.context
    assert (batch.parent, fold.parent) == ("", "")
    assert (answer.context[0], answer.parent) == asker
    assert [span.service for span in (request, batch, fold, answer)] == [
        f"analytics-{name}" for name in ("ingest", "ingest", "rollup", "query-api")
    ]
    for service, message, span in (
        ("ingest", "request", request),
        ("ingest", "batch_committed", batch),
        ("rollup", "folded", fold),
        ("query-api", "request", answer),
    ):
        assert span.context in logged(running, service, message)


def test_an_export_goes_on_in_the_trace_of_its_request(running: Platform, collector: Collector) -> None:
    """Also when the process that took the request is gone, and another one writes the file."""
    caller = new_context()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    body = {"timeRange": {"start": (today - timedelta(days=1)).isoformat(), "end": today.isoformat()}}
    restart_export(running, workers=0)
    created = call(running, "export", "POST", f"/orgs/{ORG}/exports", caller, json=body)
    assert created.status_code == 202, created.text
    restart_export(running, workers=1)

    request = the(collector, lambda: collector.named("POST /analytics/v1/orgs/{orgId}/exports"))
    job = the(collector, lambda: collector.named("export job"))
    assert (request.context[0], request.parent) == caller
    assert (job.context[0], job.parent) == request.context
    assert job.attributes["analytics.job_id"] == created.json()["jobId"]
    assert job.context in logged(running, "export", "export_succeeded")


def restart_export(platform: Platform, workers: int) -> None:
    assert platform.services["export"].stop() == 0
    platform.environments["export"]["EXPORT_WORKER_CONCURRENCY"] = str(workers)
    platform.start("export")
    platform.services["export"].wait_until_ready()


def new_context() -> Context:
    return token_hex(16), token_hex(8)


def call(platform: Platform, service: str, method: str, path: str, caller: Context, **arguments: Any) -> httpx.Response:
    return platform.call(service, method, path, headers={"traceparent": f"00-{caller[0]}-{caller[1]}-01"}, **arguments)


def totals(platform: Platform, asker: Context) -> dict[str, Any]:
    now = datetime.now(UTC)
    query = {"start": (now - timedelta(days=1)).isoformat(), "end": (now + timedelta(days=1)).isoformat()}
    answer = call(platform, "query-api", "GET", f"/orgs/{ORG}/usage", asker, params=query | {"granularity": "hour"})
    assert answer.status_code == 200, answer.text
    counted: dict[str, Any] = answer.json()["totals"]
    return counted


def the(collector: Collector, found: Callable[[], list[SeenSpan]]) -> SeenSpan:
    """The one span that is found, as soon as it has arrived."""
    wait_until(lambda: bool(found()), f"a span among {[span.name for span in collector.spans]}", patience_s=60)
    (span,) = found()
    return span


def logged(platform: Platform, service: str, message: str) -> set[Context]:
    """The trace contexts of a service's lines with this message. Every line is JSON."""
    lines = [json.loads(line) for line in platform.services[service].log().splitlines()]
    return {(line["trace_id"], line["span_id"]) for line in lines if line["message"] == message}
