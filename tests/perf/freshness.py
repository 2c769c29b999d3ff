"""How long it takes from publishing an event until the usage API shows it, while many others come.

Publishes realistic events at a fixed rate, whatever becomes of them, through the real stream, ingest, rollup and
query-api. Beside them one marked event after the other, each of a model of its own: the time from the call that
publishes it to the first answer of the usage API that counts it. The API is asked every 20 ms; nothing is cached.
"""

import argparse
import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx

from analytics_client import UsageEvent, UsagePublisher
from tests.perf.load.platform import Platform, platform
from tests.perf.load.servers import bench_servers
from tests.support import stack_places
from tests.support.callers import JWT_SECRET, bearer
from tests.support.open_load import percentile
from tests.support.processes import ServiceProcess

POLL_S = 0.02
PATIENCE_S = 120
BETWEEN_S = 0.5


@contextmanager
def query_api(stage: Platform) -> Iterator[ServiceProcess]:
    """The API on the platform's database."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stack_places.redis_database(bench_servers()) as redis_url,
        socket.create_server(("127.0.0.1", 0)) as probe,
    ):
        port = probe.getsockname()[1]
        probe.close()
        env = {
            "ENVIRONMENT": "test",
            "LOG_LEVEL": "warning",
            "HTTP_PORT": str(port),
            "DATABASE_URL": stage.database.dsn("analytics_query_api"),
            "REDIS_URL": redis_url,
            "RABBITMQ_URL": stage.rabbitmq.amqp_url,
            "AUTH_JWT_SECRET": JWT_SECRET,
        }
        service = ServiceProcess("analytics-query-api", env, Path(folder) / "log").wait_until_ready()
        try:
            yield service
        finally:
            service.stop()


async def watch(stage: Platform, api: ServiceProcess, seconds: float) -> list[float]:
    """Seconds to visibility of one marked event after the other; the next one starts whether or not that is seen."""
    org_id = uuid4()
    async with (
        UsagePublisher(stage.rabbitmq.stream_url) as publisher,
        httpx.AsyncClient(base_url=api.url, headers=bearer("admin"), timeout=30, trust_env=False) as client,
    ):
        marked = []
        for number in range(round(seconds / BETWEEN_S)):
            marked.append(asyncio.create_task(_visible_after(publisher, client, str(org_id), f"mark-{number}")))
            await asyncio.sleep(BETWEEN_S)
        return list(await asyncio.gather(*marked))


async def _visible_after(publisher: UsagePublisher, client: httpx.AsyncClient, org_id: str, model: str) -> float:
    now = datetime.now(UTC)
    event = UsageEvent(
        org_id=org_id,
        model_id=model,
        status="success",
        latency_ms=420,
        input_tokens=100,
        output_tokens=50,
        cost_estimate_cents="0.125",
    )
    times = {"start": (now - timedelta(hours=1)).isoformat(), "end": (now + timedelta(hours=1)).isoformat()}
    started = time.perf_counter()
    await publisher.publish(event)
    while time.perf_counter() - started < PATIENCE_S:
        answer = await client.get(f"/analytics/v1/orgs/{org_id}/usage", params={**times, "modelId": model})
        if answer.raise_for_status().json()["totals"]["invocations"]:
            return time.perf_counter() - started
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"{model} is not visible after {PATIENCE_S} s")


def bench(rate: float, seconds: float) -> dict[str, float]:
    with platform() as stage, query_api(stage) as api:
        stage.publisher.rate = rate
        before = stage.progress()
        times = sorted(asyncio.run(watch(stage, api, seconds)))
        after = stage.progress()
        stage.publisher.rate = 0
    published = (after.published - before.published) / (after.at - before.at)
    shown = ", ".join(f"p{percent} {percentile(times, percent):.2f} s" for percent in (50, 90, 99, 100))
    sys.stdout.write(
        f"{len(times)} marked events among {published:,.0f} events/s (asked for: {rate:,.0f}/s); not folded at the end:"
        f" {after.unfolded:,}\npublish to visible in the usage API: {shown}   target: p99 < 3 s at 15,000 events/s\n"
    )
    return {"visible_p50_s": round(percentile(times, 50), 3), "visible_p99_s": round(percentile(times, 99), 3)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=15_000, help="events a second beside the marked ones")
    parser.add_argument("--seconds", type=float, default=90, help="how long (default: 90)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    options = parser.parse_args(arguments)
    found = bench(options.rate, options.seconds)
    if options.json:
        sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
