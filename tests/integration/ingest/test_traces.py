"""A producer's trace goes on in ingest: by way of the stream, and by way of POST /events; seen by an OTLP collector."""

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from analytics_client import UsagePublisher
from tests.integration.ingest.streaming import STREAM, IngestStage, wait_for
from tests.integration.ingest.test_ingest_service import bodies
from tests.support.callers import bearer
from tests.support.processes import ServiceProcess

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """What an OTLP collector is sent over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        received = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        received.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — http.server's naming
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    thread = Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        thread.join()
        running.server.server_close()


async def test_a_batch_links_to_the_spans_that_its_events_come_from(stage: IngestStage, collector: Collector) -> None:
    """One span a batch, with links: a batch belongs to many traces and is a child of none."""
    service = await asyncio.to_thread(
        stage.start, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"
    )
    parent = f"00-{TRACE}-{SPAN}-01"
    async with UsagePublisher(stage.rabbitmq.stream_url, stream=STREAM, traceparent=lambda: parent) as publisher:
        await publisher.publish_confirmed(bodies(10), 30)
    await asyncio.to_thread(stage.wait_until_received, 10)
    answer = await asyncio.to_thread(post_event, service)
    await asyncio.to_thread(stage.wait_until_received, 11)
    assert await asyncio.to_thread(service.stop) == 0

    assert answer.status_code == 202, answer.text
    wait_for(lambda: collector.named("ingest batch"), "the batches' spans")
    (published,) = collector.named("publish events")
    links = {
        (link.trace_id.hex(), link.span_id.hex()) for span in collector.named("ingest batch") for link in span.links
    }
    assert links == {(TRACE, SPAN), (published.trace_id.hex(), published.span_id.hex())}


def post_event(service: ServiceProcess) -> httpx.Response:
    headers = bearer("admin") | {"Content-Type": "application/json"}
    url = f"{service.url}/analytics/v1/events"
    return httpx.post(url, content=bodies(1, 100)[0], headers=headers, timeout=30, trust_env=False)
