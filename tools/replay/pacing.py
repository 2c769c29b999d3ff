"""When each message is due: as fast as possible, at a rate, or at the source's own pace times a factor.

Open model: the schedule does not wait for a slow broker, a publisher that fell behind catches up.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tools.replay.messages import Message

BATCH_MESSAGES_MAX = 1000
# A paced batch covers at most this long, so that messages go out at most this early or late.
BATCH_SPAN_S = 0.02


class Pace(NamedTuple):
    """`rate` in messages per second, or `speed` as a factor of the source's time; neither: as fast as possible."""

    rate: float | None = None
    speed: float | None = None


class Batch(NamedTuple):
    """Messages to publish `due_s` seconds after the start."""

    due_s: float
    messages: list[Message]


def batches(messages: Iterable[Message], pace: Pace) -> Iterator[Batch]:
    """The messages in their order, cut into batches."""
    current: list[Message] = []
    first_due_s = due_s = 0.0
    for due_s, message in _schedule(messages, pace):
        if current and (len(current) >= BATCH_MESSAGES_MAX or due_s - first_due_s > BATCH_SPAN_S):
            yield Batch(first_due_s, current)
            current = []
        if not current:
            first_due_s = due_s
        current.append(message)
    if current:
        yield Batch(first_due_s, current)


def _schedule(messages: Iterable[Message], pace: Pace) -> Iterator[tuple[float, Message]]:
    if pace.rate is not None:
        yield from ((number / pace.rate, message) for number, message in enumerate(messages))
    elif pace.speed is not None:
        yield from _by_source_time(messages, pace.speed)
    else:
        yield from ((0.0, message) for message in messages)


def _by_source_time(messages: Iterable[Message], speed: float) -> Iterator[tuple[float, Message]]:
    """Late, repeated and broken messages go out with their neighbours: the source's clock never runs back."""
    start_us: int | None = None
    due_s = 0.0
    for message in messages:
        if message.event is not None:
            occurred_us = message.event.occurred_us
            start_us = occurred_us if start_us is None else start_us
            due_s = max(due_s, (occurred_us - start_us) / 1_000_000 / speed)
        yield due_s, message
