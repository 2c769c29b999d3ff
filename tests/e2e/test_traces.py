"""An event's way through four processes, as a collector and the processes' logs see it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import httpx
import pytest

from analytics_core.testing.builders import usage_event
from tests.e2e.conftest import make_places
from tests.e2e.platform import Platform, wait_until
from tests.support.otlp import Collector, Context, SeenSpan, collecting
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

ORG = "9a1c7a52-51a7-4f0e-8a51-3f2f4f0b7c12"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced(
    make_database: Callable[..., Database],
    make_rabbitmq: Callable[[], RabbitMq],
    redis_url: str,
    s3: ObjectStore,
    free_port: Callable[[], int],
    collector: Collector,
) -> Iterator[Platform]:
    """Every line is logged, and both kinds of OTLP are spoken."""
    places = make_places(make_database(), make_rabbitmq(), redis_url, s3, free_port)
    over_http = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    over_grpc = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    for service, environment in places.environments.items():
        spoken = over_http if service in {"ingest", "export"} else over_grpc
        environment.update(spoken, LOG_LEVEL="debug", OTEL_BSP_SCHEDULE_DELAY="100")
    with ServiceProcesses() as processes:
        yield Platform(places, processes, services={}).start_all()


def test_an_event_is_followed_from_its_request_to_the_answer_that_shows_it(
    traced: Platform, collector: Collector
) -> None:
    """The producer's trace goes on to the stream; batch, fold and answer each link to the step before."""
    caller = new_context()
    event = usage_event(orgId=ORG, occurredAt=datetime.now(UTC).isoformat())
    posted = call(traced, "ingest", "POST", "/events", caller, json=event)
    assert posted.status_code == 202, posted.text
    traced.wait_until_visible(1)
    asker = new_context()
    assert totals(traced, asker)["invocations"] == 1

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
        assert span.context in logged(traced, service, message)


def test_an_export_goes_on_in_the_trace_of_its_request(traced: Platform, collector: Collector) -> None:
    """Also when the process that took the request is gone, and another one writes the file."""
    caller = new_context()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    body = {"timeRange": {"start": (today - timedelta(days=1)).isoformat(), "end": today.isoformat()}}
    restart_export(traced, workers=0)
    created = call(traced, "export", "POST", f"/orgs/{ORG}/exports", caller, json=body)
    assert created.status_code == 202, created.text
    restart_export(traced, workers=1)

    request = the(collector, lambda: collector.named("POST /analytics/v1/orgs/{orgId}/exports"))
    job = the(collector, lambda: collector.named("export job"))
    assert (request.context[0], request.parent) == caller
    assert (job.context[0], job.parent) == request.context
    assert job.attributes["analytics.job_id"] == created.json()["jobId"]
    assert job.context in logged(traced, "export", "export_succeeded")


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
