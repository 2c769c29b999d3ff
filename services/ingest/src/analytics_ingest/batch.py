"""The messages of one transaction: counted and decoded. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from analytics_core.events import UsageEvent
from analytics_ingest.chunks import Unreadable
from analytics_ingest.cloud_batches import cloud_events_in
from analytics_ingest.continuity import Gap
from analytics_ingest.decode import Rejection, StreamReason, decode, rejection
from analytics_ingest.event_rows import BY_TIME, AcceptedTimes, plain_row, row_of, time_bytes
from analytics_ingest.limits import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    BATCH_EVENTS_MIN,
    FULL_BATCHES_PARTITIONS,
    LATE_AFTER,
)
from analytics_ingest.trace_links import Parent


class BatchSize(NamedTuple):
    """How large a batch becomes: it takes no further message once it has so many events, or so many bytes."""

    events: int = BATCH_EVENTS_MAX
    size_bytes: int = BATCH_BYTES_MAX

    @classmethod
    def beside(cls, partitions: int) -> Self:
        """The size in a process that may have to read so many partitions, so that its memory stays bounded."""
        share = BATCH_EVENTS_MAX * FULL_BATCHES_PARTITIONS // partitions
        events = max(BATCH_EVENTS_MIN, min(BATCH_EVENTS_MAX, share))
        return cls(events, BATCH_BYTES_MAX * events // BATCH_EVENTS_MAX)


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
    """What one transaction is about. received = events + dead letters, at any time.

    `events` are rows (see `event_rows`), repeated ones included: which of them are new is decided where it is known
    what is stored.

    A message is one event, or a CloudEvents batch of several: then each of them counts as received, at one offset.
    `unstorable` are the events that the database refused, by their position among all that were received.
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
    events: list[bytes] = field(default_factory=list)
    event_positions: list[int] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    trace_parents: list[Parent] = field(default_factory=list)
    unknown_field_events: int = 0
    is_late: bool = False
    _pieces: list[_Piece] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether it takes no further message."""
        return self.received >= self.events_max or self.size_bytes >= self.bytes_max

    @property
    def rejected_tail(self) -> int:
        """With how many dead letters in a row it ends."""
        tail = 0
        for letter in reversed(self.dead_letters):
            if letter.position != self.received - 1 - tail:
                break
            tail += 1
        return tail

    def add(self, bodies: Sequence[bytes | Unreadable], first_offset: int, accepted_at: datetime) -> int:
        """Take messages of one chunk, the first at `first_offset`, until full; how many were taken (at least one)."""
        times = AcceptedTimes.at(accepted_at, self.retention)
        known = len(self.events)
        bodies = bodies[: self.events_max - self.received]
        rows = self._plain_rows(bodies, times)
        plain = [row for row in rows if row is not None]
        size_bytes, taken = self.size_bytes, 0
        if len(plain) == len(rows) and (added := sum(map(len, bodies))) <= self.bytes_max - size_bytes:
            # The usual case, all at once.
            self.events += plain
            self.event_positions += range(self.received, self.received + len(plain))
            self.received += len(plain)
            taken, size_bytes = len(plain), size_bytes + added
        else:
            for body, row in zip(bodies, rows, strict=True):
                if row is None:
                    self._add_unusual(body, first_offset + taken, accepted_at)
                else:
                    self._add_row(row)
                taken += 1
                size_bytes += len(_bytes_of(body))
                if self.received >= self.events_max or size_bytes >= self.bytes_max:
                    break
        if not self.is_late and len(self.events) > known:
            self.is_late = min(map(BY_TIME, self.events[known:])) < time_bytes(accepted_at - LATE_AFTER)
        self._extend(_Piece(bodies[:taken], first_offset, accepted_at), size_bytes)
        return taken

    def rebuilt_without(self, unstorable: Mapping[int, str]) -> "Batch":
        """The same messages, with those that the database refused (position → why) as dead letters."""
        batch = Batch(self.retention, unstorable, self.events_max, self.bytes_max)
        for piece in self._pieces:
            batch.add(*piece)
        batch.gaps, batch.trace_parents = self.gaps, self.trace_parents
        return batch

    def _plain_rows(self, bodies: Sequence[bytes | Unreadable], times: AcceptedTimes) -> list[bytes | None]:
        """The rows of those that are plain events; of none of them once the database has refused some."""
        if self.unstorable:
            return [None] * len(bodies)
        return [plain_row(body, times) if isinstance(body, bytes) else None for body in bodies]

    def _add_unusual(self, body: bytes | Unreadable, offset: int, accepted_at: datetime) -> None:
        """A message that is no plain event, or that the database may have refused."""
        decoded = decode(body, accepted_at, self.retention)
        events = cloud_events_in(body) if isinstance(decoded, Rejection) and isinstance(body, bytes) else None
        parts: Sequence[bytes | Unreadable] = [body] if events is None else events
        judged = [decoded] if events is None else [decode(part, accepted_at, self.retention) for part in parts]
        for index, (part, found) in enumerate(zip(parts, judged, strict=True)):
            refusal = self.unstorable.get(self.received)
            if isinstance(found, UsageEvent) and refusal is None:
                self.unknown_field_events += found.has_unknown_fields
                self._add_row(row_of(found))
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

    def _add_row(self, row: bytes) -> None:
        self.events.append(row)
        self.event_positions.append(self.received)
        self.received += 1


def _bytes_of(body: bytes | Unreadable) -> bytes:
    return body if isinstance(body, bytes) else body.raw
