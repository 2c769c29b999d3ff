"""What must be stored of any row of events, word by word as the contract has it, over a dictionary."""

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID

WINDOW_HOURS = 24


class Event(NamedTuple):
    """`hours` before some noon; `tokens` make another body."""

    org: UUID
    number: int
    hours: int
    tokens: int


@dataclass
class Model:
    """Every event that was ever stored, and how many of the others contradict it."""

    stored: dict[tuple[UUID, int], list[Event]] = field(default_factory=dict)
    conflicts: int = 0

    def take(self, event: Event) -> None:
        namesakes = self.stored.setdefault((event.org, event.number), [])
        near = [other for other in namesakes if abs(other.hours - event.hours) <= WINDOW_HOURS]
        if not near:
            namesakes.append(event)
        elif event not in near:
            self.conflicts += 1

    @property
    def events(self) -> list[Event]:
        return sorted(event for namesakes in self.stored.values() for event in namesakes)


# Few ids, so that they meet; times on both sides of the window's ends and of midnight.
events = st.builds(
    Event,
    st.sampled_from([ORG_ID, OTHER_ORG_ID]),
    st.integers(1, 3),
    st.sampled_from([0, 1, 11, 12, 13, 24, 25, 48, 49]),
    st.sampled_from([100, 200]),
)
