"""A producer's trace goes on in ingest: by way of the stream, and by way of POST /events; seen by an OTLP collector."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from rstream import AMQPMessage, CompressionType, Producer

from analytics_client import UsagePublisher
from tests.integration.ingest.streaming import STREAM, IngestStage, wait_for
from tests.integration.ingest.test_ingest_service import bodies
from tests.support.callers import bearer
from tests.support.otlp import Collector, collecting
from tests.support.processes import ServiceProcess

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = {"traceparent": f"00-{TRACE}-{SPAN[::-1]}-01"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


async def test_a_batch_links_to_the_spans_that_its_events_come_from(stage: IngestStage, collector: Collector) -> None:
    """One span a batch, with links: a batch belongs to many traces and is a child of none."""
    service = await asyncio.to_thread(
        stage.start, OTEL_EXPORTER_OTLP_ENDPOINT=collector.http_url, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"
    )
    parent = f"00-{TRACE}-{SPAN}-01"
    async with UsagePublisher(stage.rabbitmq.stream_url, stream=STREAM, traceparent=lambda: parent) as publisher:
        await publisher.publish_confirmed(bodies(10), 30)
    await asyncio.to_thread(stage.wait_until_received, 10)
    await publish_compressed(stage, [AMQPMessage(body=body, application_properties=CONTEXT) for body in bodies(5, 50)])
    await asyncio.to_thread(stage.wait_until_received, 15)
    answer = await asyncio.to_thread(post_event, service)
    await asyncio.to_thread(stage.wait_until_received, 16)
    assert await asyncio.to_thread(service.stop) == 0

    assert answer.status_code == 202, answer.text
    wait_for(lambda: collector.named("ingest batch"), "the batches' spans")
    (published,) = collector.named("publish events")
    links = {link for span in collector.named("ingest batch") for link in span.links}
    assert links == {(TRACE, SPAN), (TRACE, SPAN[::-1]), published.context}


async def publish_compressed(stage: IngestStage, messages: list[AMQPMessage]) -> None:
    at = stage.rabbitmq
    async with Producer(at.host, at.stream_port, username=at.user, password=at.password, vhost=at.vhost) as producer:
        await producer.send_sub_entry(STREAM, messages, compression_type=CompressionType.Gzip)


def post_event(service: ServiceProcess) -> httpx.Response:
    headers = bearer("admin") | {"Content-Type": "application/json"}
    url = f"{service.url}/analytics/v1/events"
    return httpx.post(url, content=bodies(1, 100)[0], headers=headers, timeout=30, trust_env=False)
