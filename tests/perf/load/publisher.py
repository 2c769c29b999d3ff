"""Publishes realistic events at a stated rate, as a process of its own, for as little processor time as possible.

Events are made before the clock runs: `tools.replay`'s calls, organisations, models and prices, encoded once. What
differs from event to event is put between the pieces while publishing: a random id and the time. Frames are written as
the protocol has them, confirms are counted and not looked at. That takes 2 µs an event, where a producer's own work
would take 10 and more from the two cores that are measured.

The rate is open-model: an event is due at its time whether or not the ones before it have arrived.
"""

import asyncio
import logging
import multiprocessing
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any, NamedTuple, Self
from uuid import UUID

from rstream.client import Client

from tests.support.stack import RabbitMq
from tools.replay.decoration import decorate
from tools.replay.event import encode
from tools.replay.generator import generate

ORGS = 250
POOL = 20_000
FRAME_EVENTS = 1_000
TICK_SECONDS = 0.02
SPREAD_US = 2_000_000
TIME = re.compile(rb'"occurredAt":"([^"]+)"')
ID_AT = len(b'{"eventId":"')
ID_BYTES = 36
TIME_BYTES = len(b"2026-03-10T12:00:00.000000Z")

CONFIRM = b"\0\x03"
PUBLISH = b"\0\x02\0\x01"
PUBLISHER_ID = 1


class Template(NamedTuple):
    """An event's message in the pieces around its id and its time, and whose it is."""

    head: bytes
    middle: bytes
    tail: bytes
    org: UUID


def templates(count: int = POOL) -> list[Template]:
    """Messages with the shares, sizes and money of a platform with `ORGS` organisations."""
    calls = generate(count, datetime(2026, 3, 10, 12, tzinfo=UTC), timedelta(minutes=10), seed=1)
    return [_template(encode(event), UUID(event.org_id)) for event in decorate(calls, seed=1, orgs=ORGS)]


def _template(body: bytes, org: UUID) -> Template:
    found = TIME.search(body)
    assert found
    middle, tail = body[ID_AT + ID_BYTES : found.start(1)], body[found.end(1) :]
    length = ID_AT + ID_BYTES + len(middle) + TIME_BYTES + len(tail)
    section = b"\0\x53\x75" + (b"\xa0%c" % length if length < 256 else b"\xb0" + length.to_bytes(4, "big"))
    return Template((len(section) + length).to_bytes(4, "big") + section + body[:ID_AT], middle, tail, org)


def frame(chosen: Sequence[Template], first_id: int, now_us: int) -> bytes:
    """A Publish command with one event for each template, which happened in the last two seconds before `now_us`."""
    pieces = [PUBLISH, bytes([PUBLISHER_ID]), len(chosen).to_bytes(4, "big")]
    add = pieces.extend
    random = os.urandom(16 * len(chosen)).hex()
    seconds, fractions = _times(now_us)
    for number, (head, middle, tail, _) in enumerate(chosen):
        at = number * 32
        id_ = (
            f"{random[at : at + 8]}-{random[at + 8 : at + 12]}-4{random[at + 13 : at + 16]}"
            f"-8{random[at + 17 : at + 20]}-{random[at + 20 : at + 32]}"
        )
        since, fraction = fractions[number % FRAME_EVENTS]
        add(
            (
                (first_id + number).to_bytes(8, "big"), head, id_.encode(), middle,
                seconds[since], fraction, tail,
            )
        )  # fmt: skip
    content = b"".join(pieces)
    return len(content).to_bytes(4, "big") + content


def _times(now_us: int) -> tuple[list[bytes], list[tuple[int, bytes]]]:
    """Whole seconds as text, and for each event of a frame which of them and its fraction."""
    begin_us = now_us - SPREAD_US
    begin = datetime.fromtimestamp(begin_us // 1_000_000, UTC)
    seconds = [(begin + timedelta(seconds=each)).strftime("%Y-%m-%dT%H:%M:%S.").encode() for each in range(4)]
    step = SPREAD_US // FRAME_EVENTS
    offset = begin_us % 1_000_000
    return seconds, [
        ((offset + number * step) // 1_000_000, b"%06dZ" % ((offset + number * step) % 1_000_000))
        for number in range(FRAME_EVENTS)
    ]


class Publisher:
    """The process from outside: set `rate` (events/s, 0 rests), read `published` (events that the broker confirmed)."""

    def __init__(self, rabbitmq: RabbitMq, streams: Sequence[str], *, by_org: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self._rate = context.Value("d", 0.0)
        self._confirmed = context.Value("Q", 0)
        self._due = context.Value("Q", 0)
        self._process = context.Process(
            target=_run, args=(rabbitmq, list(streams), by_org, self._rate, self._confirmed, self._due), daemon=True
        )

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def rate(self) -> float:
        return float(self._rate.value)

    @rate.setter
    def rate(self, events_per_s: float) -> None:
        self._rate.value = events_per_s

    @property
    def published(self) -> int:
        return int(self._confirmed.value)

    @property
    def due(self) -> int:
        """How many events the schedule has asked for so far."""
        return int(self._due.value)


def _run(rabbitmq: RabbitMq, streams: list[str], by_org: bool, rate: Any, confirmed: Any, due: Any) -> None:
    # It misses heartbeats that the broker does not send while there is traffic.
    logging.getLogger("rstream").setLevel(logging.CRITICAL)
    asyncio.run(_publish(rabbitmq, streams, by_org, rate, confirmed, due))


async def _publish(rabbitmq: RabbitMq, streams: list[str], by_org: bool, rate: Any, confirmed: Any, due: Any) -> None:
    async with _clients(rabbitmq, streams, confirmed) as clients:
        pools = _pools(templates(), len(clients), by_org=by_org)
        next_id, owed, last = 1, 0.0, time.monotonic()
        while True:
            now = time.monotonic()
            owed += (now - last) * rate.value
            last = now
            while owed >= FRAME_EVENTS:
                chosen = pools[next_id // FRAME_EVENTS % len(pools)]
                content = frame(list(islice(chosen, FRAME_EVENTS)), next_id, time.time_ns() // 1000)
                due.value += FRAME_EVENTS
                await _send(clients[next_id // FRAME_EVENTS % len(pools)], content)
                next_id += FRAME_EVENTS
                owed -= FRAME_EVENTS
            await asyncio.sleep(TICK_SECONDS)


async def _send(client: Any, content: bytes) -> None:
    await client._conn._write_frame_raw(content)


def _pools(made: list[Template], partitions: int, *, by_org: bool) -> list["cycle[Template]"]:
    if not by_org:
        return [cycle(made[number:] + made[:number]) for number in range(partitions)]
    return [cycle([each for each in made if each.org.int % partitions == number]) for number in range(partitions)]


@asynccontextmanager
async def _clients(rabbitmq: RabbitMq, streams: Sequence[str], confirmed: Any) -> AsyncIterator[list[Client]]:
    clients = []
    for stream in streams:
        client = Client(rabbitmq.host, rabbitmq.stream_port, frame_max=1 << 20, heartbeat=60, connection_name="bench")
        await client.start()
        await client.authenticate(rabbitmq.vhost, rabbitmq.user, rabbitmq.password)
        _count_confirms(client, confirmed)
        await client.declare_publisher(stream, None, PUBLISHER_ID)
        clients.append(client)
    yield clients


def _count_confirms(client: Client, confirmed: Any) -> None:
    """rstream makes an object of each confirmed id: 1 µs an event. The number of them is all that is asked here."""
    connection: Any = client._conn
    read_raw = connection._read_frame_raw

    async def read_raw_uncounted() -> bytearray:
        while True:
            content: bytearray = await read_raw()
            if content[:2] != CONFIRM:
                return content
            confirmed.value += int.from_bytes(content[5:9], "big")

    connection._read_frame_raw = read_raw_uncounted
