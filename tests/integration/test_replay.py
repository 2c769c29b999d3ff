"""Replaying into a real broker: what the ledger says is what is in the stream."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics_core.events import EventRejected, decode_event
from tests.support.fault_proxy import FaultProxy
from tests.support.stack import RabbitMq
from tests.support.streams import Stream
from tools.replay.ledger import Ledger, Sums
from tools.replay.messages import Disorder, Kind
from tools.replay.pacing import Pace
from tools.replay.run import replay
from tools.replay.source import Source
from tools.replay.stream import StreamUnavailable, ensure_stream, stream_arguments

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TRACE = Path(__file__).parents[3] / "shared/data/azure-llm-inference-conv-2023.csv"


async def bodies_in(rabbitmq: RabbitMq, stream: str, count: int) -> list[bytes]:
    return await Stream(rabbitmq, stream).bodies(count)


def sums_of(bodies: list[bytes]) -> tuple[Sums, Counter[str]]:
    """Sums of the valid events in a stream, first copies alone; counts of all that is there."""
    sums, counts, seen = Sums(), Counter[str](), set()
    for body in bodies:
        try:
            event = decode_event(body, NOON, timedelta(days=400))
        except EventRejected:
            counts["invalid"] += 1
            continue
        counts["repeated" if event.event_id in seen else "event"] += 1
        if event.event_id not in seen:
            seen.add(event.event_id)
            sums += Sums(1, input_tokens=event.input_tokens, output_tokens=event.output_tokens)
            sums.cost_microcents += event.cost_microcents
    return sums, counts


def source(**options: Any) -> Source:
    values: dict[str, Any] = {"anchor": NOON, "events": 5000, "orgs": 5}
    return Source(**values | options)


async def test_the_ledger_equals_what_is_in_the_stream(rabbitmq: RabbitMq) -> None:
    """The product is compared with the ledger, so the ledger is compared with the broker."""
    disorder = Disorder(duplicates=0.05, conflicts=0.02, late=0.05, invalid=0.02)
    _, messages = source(disorder=disorder).messages()
    ledger = await replay(messages, url=rabbitmq.stream_url, stream="replay.ledger", seed=1)
    sums, counts = sums_of(await bodies_in(rabbitmq, "replay.ledger", ledger.messages))

    assert ledger.unconfirmed == 0
    assert ledger.ended_early is None
    assert counts == {
        "event": ledger.events,
        "repeated": ledger.extra[Kind.DUPLICATE] + ledger.extra[Kind.CONFLICT],
        "invalid": ledger.extra[Kind.INVALID],
    }
    assert sums.cost_microcents == ledger.totals.cost_microcents
    assert (sums.input_tokens, sums.output_tokens) == (ledger.totals.input_tokens, ledger.totals.output_tokens)


async def test_a_new_stream_gets_the_retention_of_the_contract(rabbitmq: RabbitMq) -> None:
    """A stream without limits fills the disk; one place states them."""
    created = await ensure_stream(rabbitmq.stream_url, "replay.created")
    queue = rabbitmq.management("GET", f"/queues/{rabbitmq.vhost}/replay.created").json()

    assert created == ["replay.created"]
    assert {f"x-{name}": value for name, value in stream_arguments().items()}.items() <= queue["arguments"].items()
    assert await ensure_stream(rabbitmq.stream_url, "replay.created") == ["replay.created"]


async def test_a_super_stream_is_created_found_and_filled(rabbitmq: RabbitMq) -> None:
    """Ingest scales by partitions; the replay must reach all of them."""
    names = ["replay.super-0", "replay.super-1", "replay.super-2"]
    assert await ensure_stream(rabbitmq.stream_url, "replay.super", 3) == names
    assert await ensure_stream(rabbitmq.stream_url, "replay.super") == names
    _, messages = source(events=30_000).messages()

    # The partitions share the work: at full speed it may be done before the last one is connected.
    ledger = await replay(messages, url=rabbitmq.stream_url, stream="replay.super", pace=Pace(rate=6_000))

    assert ledger.messages == 30_000
    read = [await bodies_in(rabbitmq, name, 1) for name in names]
    assert all(read)


async def test_an_unreachable_broker_is_an_error_at_once(free_port: Callable[[], int]) -> None:
    """Not a progress bar that stands still."""
    url = f"rabbitmq-stream://user:secret@127.0.0.1:{free_port()}/"
    with pytest.raises(StreamUnavailable) as failure:
        await replay([], url=url, stream="replay.nowhere")

    assert "secret" not in str(failure.value)


async def test_a_wrong_password_is_an_error_at_once(rabbitmq: RabbitMq) -> None:
    """And says that it is the login."""
    url = rabbitmq.stream_url.replace(rabbitmq.password, "wrong")
    with pytest.raises(StreamUnavailable, match="Authentication"):
        await ensure_stream(url, "replay.nowhere")


async def test_a_lost_connection_loses_nothing(rabbitmq: RabbitMq) -> None:
    """Confirms that do not come are awaited on a new connection; ids tell what is then there twice."""
    _, messages = source(events=20_000).messages()
    async with FaultProxy.open(rabbitmq.host, rabbitmq.stream_port) as proxy:
        cuts: list[int] = []

        def cut_once(ledger: Ledger) -> None:
            if not cuts and ledger.messages > 5_000:
                cuts.append(ledger.messages)
                proxy.cut()

        url = rabbitmq.stream_url.replace(f":{rabbitmq.stream_port}/", f":{proxy.port}/")
        ledger = await replay(
            messages,
            url=url,
            stream="replay.cut",
            pace=Pace(rate=20_000),
            load_balanced=True,
            on_progress=cut_once,
        )
    sums, counts = sums_of(await bodies_in(rabbitmq, "replay.cut", 20_000))

    assert cuts
    assert (ledger.messages, ledger.unconfirmed) == (20_000, 0)
    assert counts["event"] == 20_000
    assert sums.cost_microcents == ledger.totals.cost_microcents


def stream_length(rabbitmq: RabbitMq, stream: str, at_least: int) -> int:
    """Messages in a stream, once the management API, which lags by seconds, knows of enough."""
    count = 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        queues = {each["name"]: each for each in rabbitmq.management("GET", f"/queues/{rabbitmq.vhost}").json()}
        count = queues.get(stream, {}).get("messages", 0)
        if count >= at_least:
            return int(count)
        time.sleep(0.2)
    raise AssertionError(f"{stream} has {count} messages, expected {at_least}")


async def test_a_replay_that_is_stopped_keeps_the_ledger_of_what_arrived(rabbitmq: RabbitMq) -> None:
    """Ctrl-C in the middle of an hour of replay must not cost the account of it."""
    stop = asyncio.Event()
    _, messages = source(events=100_000).messages()
    ledger = await replay(
        messages,
        url=rabbitmq.stream_url,
        stream="replay.stopped",
        pace=Pace(rate=5_000),
        stop=stop,
        on_progress=lambda ledger: stop.set() if ledger.messages > 1_000 else None,
    )
    sums, _ = sums_of(await bodies_in(rabbitmq, "replay.stopped", ledger.messages))

    assert ledger.ended_early == "stopped"
    assert ledger.unconfirmed == 0
    assert 1_000 < ledger.messages < 100_000
    assert sums.cost_microcents == ledger.totals.cost_microcents


def command(rabbitmq: RabbitMq, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "tools.replay", "--url", rabbitmq.stream_url, *arguments]


def test_the_command_prints_its_ledger_as_json(rabbitmq: RabbitMq, tmp_path: Path) -> None:
    """Standard output is the ledger alone, so that it can be piped; progress goes to standard error."""
    arguments = ["--events", "500", "--stream", "replay.command", "--ending", "2026-11-01T12:00:00Z"]
    printed = subprocess.run(command(rabbitmq, *arguments), capture_output=True, text=True, check=True, timeout=60)
    file = tmp_path / "ledger.json"
    quiet = [*arguments, "--shuffle", "7", "--ledger", str(file), "--quiet"]
    written = subprocess.run(command(rabbitmq, *quiet), capture_output=True, text=True, check=True, timeout=60)

    ledger = json.loads(printed.stdout)
    assert (ledger["events"], ledger["unconfirmed"]) == (500, 0)
    assert "500 messages to replay.command" in printed.stderr
    assert (written.stdout, written.stderr) == ("", "")
    assert json.loads(file.read_text())["orgs"] == ledger["orgs"]


def test_ctrl_c_ends_the_command_with_its_ledger(rabbitmq: RabbitMq) -> None:
    """Exit code 130, as a shell expects, and JSON that adds up."""
    arguments = ["--events", "1000000", "--rate", "2000", "--stream", "replay.interrupted", "--quiet"]
    with subprocess.Popen(command(rabbitmq, *arguments), stdout=subprocess.PIPE, text=True) as process:
        try:
            stream_length(rabbitmq, "replay.interrupted", 1)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()

    ledger = json.loads(output)
    assert process.returncode == 130
    assert (ledger["endedEarly"], ledger["unconfirmed"]) == ("stopped", 0)
    assert ledger["totals"]["events"] == ledger["messages"] > 0


@pytest.mark.skipif(not TRACE.exists(), reason=f"the trace is not there: {TRACE}")
async def test_the_real_trace_is_published_to_the_last_token(rabbitmq: RabbitMq) -> None:
    """19,366 requests of a production service, with the totals that its documentation states."""
    _, messages = source(trace=TRACE, events=None).messages()
    ledger = await replay(messages, url=rabbitmq.stream_url, stream="replay.trace")

    totals = ledger.totals
    assert (totals.events, totals.input_tokens, totals.output_tokens) == (19_366, 22_361_870, 4_088_665)
