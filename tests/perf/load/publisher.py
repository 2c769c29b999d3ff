"""Publishes realistic events at a stated rate, as a process of its own, for as little processor time as possible.

Events are made before the clock runs: `tools.replay`'s calls, organisations, models and prices, encoded once. What
differs from event to event is put between the pieces while publishing: a random id and the time. Frames are written as
the protocol has them, confirms are counted and not looked at. A producer's own work would take 10 µs an event and more
from the two cores that are measured.

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

import numpy as np
import numpy.typing as npt
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
# Where the groups of digits stand in an id, and where they begin among its 32 digits.
ID_GROUPS = ((slice(0, 8), 0), (slice(9, 13), 8), (slice(14, 18), 12), (slice(19, 23), 16), (slice(24, 36), 20))
TIME_BYTES = len(b"2026-03-10T12:00:00.000000Z")

Digits = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
THREE_DIGITS = np.frombuffer("".join(f"{number:03}" for number in range(1000)).encode(), np.uint8).reshape(1000, 3)

LENGTH_BYTES = 4
NUMBER_BYTES = 8
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


class Frame:
    """A Publish command with one event for each template; an event differs from the last time by its id and its time.

    All ids and times of a command are made and put into place at once: 0.2 µs an event, where one by one takes 2.
    """

    def __init__(self, chosen: Sequence[Template]) -> None:
        pieces = [bytes(LENGTH_BYTES), PUBLISH, bytes([PUBLISHER_ID]), len(chosen).to_bytes(4, "big")]
        numbers, ids, times = [], [], []
        position = sum(map(len, pieces))
        for head, middle, tail, _ in chosen:
            numbers.append(position)
            ids.append(numbers[-1] + NUMBER_BYTES + len(head))
            times.append(ids[-1] + ID_BYTES + len(middle))
            position = times[-1] + TIME_BYTES + len(tail)
            pieces += (bytes(NUMBER_BYTES), head, b"-" * ID_BYTES, middle, bytes(TIME_BYTES), tail)
        pieces[0] = (position - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "big")
        self._content = bytearray(b"".join(pieces))
        self._numbers, self._ids, self._times = map(np.array, (numbers, ids, times))

    def filled(self, first_number: int, now_us: int) -> bytes:
        """The command's bytes, with new ids and with times in the last two seconds before `now_us`."""
        count = len(self._numbers)
        numbers = np.arange(first_number, first_number + count, dtype=">u8")
        self._put(self._numbers, numbers.view(np.uint8).reshape(count, NUMBER_BYTES))
        self._put(self._ids, _random_ids(count))
        self._put(self._times, _times(count, now_us))
        return bytes(self._content)

    def _put(self, positions: npt.NDArray[np.int64], texts: Digits) -> None:
        """Each text at its position, as a whole: by the byte it takes five times as long."""
        width = texts.shape[1]
        places = np.ndarray(len(self._content) - width + 1, f"V{width}", self._content, strides=(1,))
        places[positions] = texts.view(f"V{width}")[:, 0]


def _random_ids(count: int) -> Digits:
    """So many UUIDs of version 4."""
    ids = np.frombuffer(os.urandom(16 * count), np.uint8).reshape(count, 16).copy()
    ids[:, 6] = ids[:, 6] & 0x0F | 0x40
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    texts = np.full((count, ID_BYTES), ord("-"), np.uint8)
    digits = np.frombuffer(ids.tobytes().hex().encode(), np.uint8).reshape(count, 32)
    for places, first in ID_GROUPS:
        texts[:, places] = digits[:, first : first + places.stop - places.start]
    return texts


def _times(count: int, now_us: int) -> Digits:
    """So many times, at even distances."""
    since_us = now_us - SPREAD_US + np.arange(count) * (SPREAD_US // count)
    first = now_us // 1_000_000 - SPREAD_US // 1_000_000
    seconds = [datetime.fromtimestamp(first + each, UTC).strftime("%Y-%m-%dT%H:%M:%S.").encode() for each in range(4)]
    times = np.empty((count, TIME_BYTES), np.uint8)
    texts = np.array(seconds)[since_us // 1_000_000 - first]
    times[:, :-7] = texts.view(np.uint8).reshape(count, -1)
    times[:, -7:-4] = THREE_DIGITS[since_us // 1000 % 1000]
    times[:, -4:-1] = THREE_DIGITS[since_us % 1000]
    times[:, -1] = ord("Z")
    return times


def frames(made: Sequence[Template]) -> list[Frame]:
    """Commands in which each template occurs; the last one is filled up with the first of them."""
    again = cycle(made)
    return [Frame(list(islice(again, FRAME_EVENTS))) for _ in range(0, len(made), FRAME_EVENTS)]


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
                frame = next(pools[next_id // FRAME_EVENTS % len(pools)])
                content = frame.filled(next_id, time.time_ns() // 1000)
                due.value += FRAME_EVENTS
                await _send(clients[next_id // FRAME_EVENTS % len(pools)], content)
                next_id += FRAME_EVENTS
                owed -= FRAME_EVENTS
            await asyncio.sleep(TICK_SECONDS)


async def _send(client: Any, content: bytes) -> None:
    await client._conn._write_frame_raw(content)


def _pools(made: list[Template], partitions: int, *, by_org: bool) -> list["cycle[Frame]"]:
    """The commands of each partition, over and over."""
    if by_org:
        shares = [[each for each in made if each.org.int % partitions == number] for number in range(partitions)]
    else:
        shares = [made[number:] + made[:number] for number in range(partitions)]
    return [cycle(frames(share)) for share in shares]


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
