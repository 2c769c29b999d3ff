"""Turns events into messages, with the disorder of real producers: repeated, contradicting, late and broken ones.

Extra messages are added, no event is taken away: whatever the options, the valid events are the same.
"""

import heapq
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from tools.replay.event import Event, encode

# Duplicates repeat one of the last so many events.
RECENT = 4096
# A late event is held back by up to a day of the source's time.
LATE_MAX_US = 24 * 3600 * 1_000_000


class Kind(StrEnum):
    """What ingest is expected to make of a message."""

    EVENT = "event"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    INVALID = "invalid"


class Message(NamedTuple):
    """The body of one stream message; `event` is None when it is invalid."""

    body: bytes
    kind: Kind
    event: Event | None
    late: bool = False


class Disorder(NamedTuple):
    """Fractions of the events: `late` are held back, the others are added."""

    duplicates: float = 0.0
    conflicts: float = 0.0
    late: float = 0.0
    invalid: float = 0.0


def messages(events: Iterable[Event], disorder: Disorder, seed: int) -> Iterator[Message]:
    """One message for each event, plus the added ones. A duplicate or conflict comes after the event it repeats."""
    rng = Random(f"{seed}/disorder")
    recent: deque[Event] = deque(maxlen=RECENT)
    for message in _held_back(events, disorder.late, rng):
        yield message
        if message.event is not None:
            recent.append(message.event)
        if rng.random() < disorder.duplicates:
            event = rng.choice(recent)
            yield Message(encode(event), Kind.DUPLICATE, event)
        if rng.random() < disorder.conflicts:
            event = rng.choice(recent)
            yield Message(encode(replace(event, latency_ms=event.latency_ms + 1)), Kind.CONFLICT, event)
        if rng.random() < disorder.invalid:
            yield Message(rng.choice(BREAKAGES)(message.body), Kind.INVALID, None)


def shuffled(ordered: Iterable[Message], seed: int) -> list[Message]:
    """The same messages in another order; needs all of them in memory (about 1 kB each)."""
    everything = list(ordered)
    Random(f"{seed}/shuffle").shuffle(everything)
    return everything


def _held_back(events: Iterable[Event], late: float, rng: Random) -> Iterator[Message]:
    """A held event goes out behind the first one that happened after its time of release, or at the end."""
    held: list[tuple[int, int, Event]] = []
    for number, event in enumerate(events):
        if rng.random() < late:
            release_us = event.occurred_us + int(LATE_MAX_US * rng.random() ** 3)
            heapq.heappush(held, (release_us, number, event))
            continue
        yield Message(encode(event), Kind.EVENT, event)
        while held and held[0][0] <= event.occurred_us:
            yield _released(held)
    while held:
        yield _released(held)


def _released(held: list[tuple[int, int, Event]]) -> Message:
    event = heapq.heappop(held)[2]
    return Message(encode(event), Kind.EVENT, event, late=True)


def _without_org(body: bytes) -> bytes:
    fields = json.loads(body)
    del fields["orgId"]
    return json.dumps(fields).encode()


BREAKAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda body: body[: len(body) // 2],
    lambda body: body.replace(b'"latencyMs":', b'"latencyMs":-1'),
    lambda body: body.replace(b'"status":"', b'"status":"un'),
    lambda body: b"\xff\xfe" + body,
    lambda body: b"[" + body + b"]",
    _without_org,
)
"""Ways to break an event; each of them is refused by the contract, whatever the event."""
