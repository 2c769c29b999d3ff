"""From what the user asked for to the messages to publish."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from tools.replay import trace
from tools.replay.calls import Call
from tools.replay.decoration import decorate
from tools.replay.generator import generate
from tools.replay.messages import Disorder, Message, messages, shuffled
from tools.replay.population import NAMESPACE

GENERATED_EVENTS = 100_000
ORDERED = Disorder()


@dataclass(frozen=True)
class Source:
    """What to publish; the same values give the same messages.

    The calls end at `anchor`, or start there with `anchor_is_start`. Without a trace, the generator makes `events`
    calls in `duration`; with one, `events` cuts it. Another `namespace` gives other organisations the same calls.
    """

    anchor: datetime
    anchor_is_start: bool = False
    trace: Path | None = None
    events: int | None = None
    duration: timedelta = timedelta(hours=24)
    seed: int = 1
    orgs: int = 25
    namespace: UUID = NAMESPACE
    disorder: Disorder = ORDERED
    shuffle: int | None = None

    def messages(self) -> tuple[int, Iterable[Message]]:
        """About how many messages (exact without disorder), and the messages.

        Raises `TraceError` or OSError for a trace that cannot be read, ValueError for a number that cannot be.
        """
        count, calls = self._generated() if self.trace is None else self._traced(self.trace)
        added = self.disorder.duplicates + self.disorder.conflicts + self.disorder.invalid
        events = decorate(calls, seed=self.seed, orgs=self.orgs, namespace=self.namespace)
        ordered = messages(events, self.disorder, self.seed)
        everything = ordered if self.shuffle is None else shuffled(ordered, self.shuffle)
        return round(count * (1 + added)), everything

    def _generated(self) -> tuple[int, Iterable[Call]]:
        count = self.events or GENERATED_EVENTS
        start = self.anchor if self.anchor_is_start else self.anchor - self.duration
        return count, generate(count, start.replace(microsecond=0), self.duration, self.seed)

    def _traced(self, file: Path) -> tuple[int, Iterable[Call]]:
        calls = trace.read_trace(file)[: self.events]
        move = trace.starting_at if self.anchor_is_start else trace.ending_at
        return len(calls), move(calls, self.anchor)
