"""The messages of one transaction: counted, decoded, each event once. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from analytics_core.events import UsageEvent
from analytics_ingest.chunks import Unreadable
from analytics_ingest.cloud_batches import cloud_events_in
from analytics_ingest.decode import Rejection, StreamReason, decode, rejection
from analytics_ingest.limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, DEDUPE_WINDOW, LATE_AFTER


class _Piece(NamedTuple):
    bodies: Sequence[bytes | Unreadable]
    first_offset: int
    accepted_at: datetime


class DeadLetter(NamedTuple):
    """A rejected message, or one event of it: its offset, its place in the message and among all of the batch."""

    offset: int
    message_index: int
    position: int
    rejection: Rejection


@dataclass(slots=True)
class Batch:
    """What one transaction writes. received = events + repeats + dead letters, at any time.

    A message is one event, or a CloudEvents batch of several: then each of them counts as received, at one offset.
    `unstorable` are the events that the database refused, by their position among all that were received.

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
    event_positions: list[int] = field(default_factory=list)
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
        taken = 0
        for offset, body in enumerate(bodies, first_offset):
            decoded = decode(body, accepted_at, self.retention)
            if isinstance(decoded, UsageEvent) and not self.unstorable:
                self._add_event(decoded, late_before)
            else:
                self._add_other(decoded, body, offset, accepted_at)
            taken += 1
            size_left -= len(body) if isinstance(body, bytes) else len(body.raw)
            if self.received >= self.events_max or size_left <= 0:
                break
        self._extend(_Piece(bodies[:taken], first_offset, accepted_at), self.bytes_max - size_left)
        return taken

    def rebuilt_without(self, unstorable: Mapping[int, str]) -> "Batch":
        """The same messages, with those that the database refused (position → why) as dead letters."""
        batch = Batch(self.retention, unstorable, self.events_max, self.bytes_max)
        for piece in self._pieces:
            batch.add(*piece)
        return batch

    def _add_other(
        self, decoded: UsageEvent | Rejection, body: bytes | Unreadable, offset: int, accepted_at: datetime
    ) -> None:
        """A message that is no single event, or that the database may have refused."""
        events = cloud_events_in(body) if isinstance(decoded, Rejection) and isinstance(body, bytes) else None
        parts: Sequence[bytes | Unreadable] = [body] if events is None else events
        judged = [decoded] if events is None else [decode(part, accepted_at, self.retention) for part in parts]
        for index, (part, found) in enumerate(zip(parts, judged, strict=True)):
            refusal = self.unstorable.get(self.received)
            if isinstance(found, UsageEvent) and refusal is None:
                self._add_event(found, accepted_at - LATE_AFTER)
                continue
            if isinstance(found, Rejection):
                letter = found
            else:
                letter = rejection(StreamReason.NOT_STORABLE, None, str(refusal), _bytes_of(part))
            self.dead_letters.append(DeadLetter(offset, index, self.received, letter))
            self.received += 1

    def _extend(self, piece: _Piece, size_bytes: int) -> None:
        if self.first_accepted_at is None:
            self.first_offset, self.first_accepted_at = piece.first_offset, piece.accepted_at
        self.last_offset, self.last_accepted_at = piece.first_offset + len(piece.bodies) - 1, piece.accepted_at
        self.size_bytes = size_bytes
        self._pieces.append(piece)

    def _add_event(self, event: UsageEvent, late_before: datetime) -> None:
        self.received += 1
        if event.has_unknown_fields:
            self.unknown_field_events += 1
        # One integer of both ids: hashing it takes 0.3 µs, a tuple of two UUID objects 2 µs.
        key = (event.org_id.int << 128) | event.event_id.int
        first = self._first_by_id.setdefault(key, event)
        if first is not event and self._is_repeated(event, first, key):
            return
        self.events.append(event)
        self.event_positions.append(self.received - 1)
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


def _bytes_of(body: bytes | Unreadable) -> bytes:
    return body if isinstance(body, bytes) else body.raw
