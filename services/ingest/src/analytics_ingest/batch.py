"""The messages of one transaction: counted, decoded, each event once. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from analytics_core.events import UsageEvent
from analytics_ingest.chunks import Unreadable
from analytics_ingest.decode import Rejection, StreamReason, decode, rejection
from analytics_ingest.limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, DEDUPE_WINDOW, LATE_AFTER


class _Piece(NamedTuple):
    bodies: Sequence[bytes | Unreadable]
    first_offset: int
    accepted_at: datetime


class DeadLetter(NamedTuple):
    """A rejected message: its offset and its place among the messages of the batch."""

    offset: int
    position: int
    rejection: Rejection


@dataclass(slots=True)
class Batch:
    """What one transaction writes. received = events + repeats + dead letters, at any time.

    Two events are the same when organisation and id are equal and their times are at most `DEDUPE_WINDOW` apart; the
    first one stays, a later one is a repeat. The database applies the same rule between batches, so that it does not
    matter where a batch ends; only the database knows whether a repeat has another body than what is stored.
    """

    retention: timedelta
    unstorable: Mapping[int, str] = field(default_factory=dict)
    events_max: int = BATCH_EVENTS_MAX
    bytes_max: int = BATCH_BYTES_MAX
    received: int = 0
    size_bytes: int = 0
    first_offset: int = -1
    last_offset: int = -1
    first_accepted_at: datetime | None = None
    last_accepted_at: datetime | None = None
    events: list[UsageEvent] = field(default_factory=list)
    event_offsets: list[int] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    repeats: list[UsageEvent] = field(default_factory=list)
    unknown_field_events: int = 0
    is_late: bool = False
    _pieces: list[_Piece] = field(default_factory=list)
    _first_by_id: dict[int, list[UsageEvent] | UsageEvent] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether it takes no further message."""
        return self.received >= self.events_max or self.size_bytes >= self.bytes_max

    def add(self, bodies: Sequence[bytes | Unreadable], first_offset: int, accepted_at: datetime) -> int:
        """Take messages of one chunk, the first at `first_offset`, until full; how many were taken (at least one)."""
        late_before = accepted_at - LATE_AFTER
        size_left = self.bytes_max - self.size_bytes
        count_left = self.events_max - self.received
        taken = 0
        for offset, body in enumerate(bodies, first_offset):
            decoded = decode(body, accepted_at, self.retention)
            if self.unstorable and offset in self.unstorable and isinstance(body, bytes):
                decoded = rejection(StreamReason.NOT_STORABLE, None, self.unstorable[offset], body)
            if isinstance(decoded, Rejection):
                self.dead_letters.append(DeadLetter(offset, self.received + taken, decoded))
            else:
                self._add_event(decoded, offset, late_before)
            taken += 1
            size_left -= len(body) if isinstance(body, bytes) else len(body.raw)
            if taken >= count_left or size_left <= 0:
                break
        self._extend(_Piece(bodies[:taken], first_offset, accepted_at), self.bytes_max - size_left)
        return taken

    def rebuilt_without(self, unstorable: Mapping[int, str]) -> "Batch":
        """The same messages, with those that the database refused (offset → why) as dead letters."""
        batch = Batch(self.retention, unstorable, self.events_max, self.bytes_max)
        for piece in self._pieces:
            batch.add(*piece)
        return batch

    def _extend(self, piece: _Piece, size_bytes: int) -> None:
        if self.first_accepted_at is None:
            self.first_offset, self.first_accepted_at = piece.first_offset, piece.accepted_at
        self.last_offset, self.last_accepted_at = piece.first_offset + len(piece.bodies) - 1, piece.accepted_at
        self.received += len(piece.bodies)
        self.size_bytes = size_bytes
        self._pieces.append(piece)

    def _add_event(self, event: UsageEvent, offset: int, late_before: datetime) -> None:
        if event.has_unknown_fields:
            self.unknown_field_events += 1
        # One integer of both ids: hashing it takes 0.3 µs, a tuple of two UUID objects 2 µs.
        key = (event.org_id.int << 128) | event.event_id.int
        first = self._first_by_id.setdefault(key, event)
        if first is not event and self._is_repeated(event, first, key):
            return
        self.events.append(event)
        self.event_offsets.append(offset)
        if event.occurred_at < late_before:
            self.is_late = True

    def _is_repeated(self, event: UsageEvent, first: list[UsageEvent] | UsageEvent, key: int) -> bool:
        """Put the event among the repeats, or keep it beside its namesakes if they are all too far away in time."""
        namesakes = first if isinstance(first, list) else [first]
        if any(abs(other.occurred_at - event.occurred_at) <= DEDUPE_WINDOW for other in namesakes):
            self.repeats.append(event)
            return True
        self._first_by_id[key] = [*namesakes, event]
        return False
