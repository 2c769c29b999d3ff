"""The exact account of what was published: what the product's numbers are compared with.

`orgs` and `totals` count every valid event once, by organisation and model, whatever was repeated, held back or broken.
Exact as long as `unconfirmed` is 0: an unconfirmed message may or may not be in the stream.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from tools.replay.calls import moment
from tools.replay.event import Event
from tools.replay.messages import Kind, Message


@dataclass
class Sums:
    """Sums over events; money in micro-cents."""

    events: int = 0
    success: int = 0
    error: int = 0
    timeout: int = 0
    throttled: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cost_microcents: int = 0

    def add_event(self, event: Event) -> None:
        """Count one event."""
        self.events += 1
        setattr(self, event.status, getattr(self, event.status) + 1)
        self.input_tokens += event.input_tokens
        self.output_tokens += event.output_tokens
        self.cached_input_tokens += event.cached_input_tokens
        self.reasoning_tokens += event.reasoning_tokens
        self.cost_microcents += event.cost_microcents

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Sums)))

    def as_json(self) -> dict[str, int]:
        """By camelCase names."""
        return {_camel(each.name): getattr(self, each.name) for each in fields(Sums)}


@dataclass
class Ledger:
    """Filled message by message as the broker confirms them."""

    stream: str
    seed: int | None = None
    by_org_and_model: dict[tuple[str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))
    events: int = 0
    extra: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    late: int = 0
    unconfirmed: int = 0
    ended_early: str | None = None
    seconds: float = 0.0
    _first_us: int = sys.maxsize
    _last_us: int = -sys.maxsize

    def add(self, message: Message) -> None:
        """Count one confirmed message."""
        event = message.event
        if message.kind is not Kind.EVENT or event is None:
            self.extra[message.kind] += 1
            return
        self.late += message.late
        self.by_org_and_model[event.org_id, event.model_id].add_event(event)
        self._first_us = min(self._first_us, event.occurred_us)
        self._last_us = max(self._last_us, event.occurred_us)
        self.events += 1

    @property
    def first_occurred_at(self) -> datetime | None:
        """Time of the earliest event; None without events."""
        return moment(self._first_us) if self.by_org_and_model else None

    @property
    def last_occurred_at(self) -> datetime | None:
        """Time of the latest event; None without events."""
        return moment(self._last_us) if self.by_org_and_model else None

    @property
    def messages(self) -> int:
        """All confirmed messages."""
        return self.events + sum(self.extra.values())

    def extra_counts(self) -> dict[str, int]:
        """The messages beside the events, by what they are."""
        names = {"duplicates": Kind.DUPLICATE, "conflicts": Kind.CONFLICT, "invalid": Kind.INVALID}
        return {name: self.extra[kind] for name, kind in names.items()}

    @property
    def totals(self) -> Sums:
        """Over all organisations."""
        return sum(self.by_org_and_model.values(), Sums())

    def by_org(self) -> dict[str, Sums]:
        """Sums of each organisation, the busiest first."""
        orgs: dict[str, Sums] = defaultdict(Sums)
        for (org_id, _), sums in self.by_org_and_model.items():
            orgs[org_id] += sums
        return dict(sorted(orgs.items(), key=lambda item: (-item[1].events, item[0])))

    def by_model(self, org_id: str) -> dict[str, Sums]:
        """Sums of each model of one organisation, the busiest first."""
        models = {model: sums for (org, model), sums in self.by_org_and_model.items() if org == org_id}
        return dict(sorted(models.items(), key=lambda item: (-item[1].events, item[0])))

    def as_json(self) -> dict[str, Any]:
        """The whole ledger, ready for `json.dumps`."""
        return {
            "stream": self.stream,
            "seed": self.seed,
            "messages": self.messages,
            "events": self.events,
            **self.extra_counts(),
            "late": self.late,
            "unconfirmed": self.unconfirmed,
            "endedEarly": self.ended_early,
            "seconds": round(self.seconds, 3),
            "firstOccurredAt": _iso(self.first_occurred_at),
            "lastOccurredAt": _iso(self.last_occurred_at),
            "totals": self.totals.as_json(),
            "orgs": {
                org_id: sums.as_json()
                | {"models": {model: each.as_json() for model, each in self.by_model(org_id).items()}}
                for org_id, sums in self.by_org().items()
            },
        }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)
