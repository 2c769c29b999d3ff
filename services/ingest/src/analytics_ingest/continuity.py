"""Whether what the broker delivers continues what is committed. Pure.

The reader attaches at the last committed message, not after it: if that message comes back as it was, the stream is
the same one; a stream that was deleted and made again, or that lost its tail, shows at once.
"""

from dataclasses import dataclass
from datetime import datetime

from analytics_core.errors import AnalyticsError
from analytics_ingest.chunks import Chunk
from analytics_ingest.limits import HOUSEKEEPING_OFFSETS_MAX


class OffsetRegression(AnalyticsError):
    """The stream is not the one that was read: its offsets name other messages. Only an operator can decide."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that the stream no longer has: retention removed messages before they were read.

    They were accepted after `after_at` (unknown for a stream that was never read) and not after `before_at`.
    """

    first_offset: int
    end_offset: int
    after_at: datetime | None
    before_at: datetime


class Continuity:
    """Follows the chunks of one attachment."""

    def __init__(self, next_offset: int, last_accepted_at: datetime | None) -> None:
        self._next_offset = next_offset
        self._last_accepted_at = last_accepted_at
        self.is_proven = next_offset == 0
        """Whether the last committed message was seen again, or is known to be gone."""

    @property
    def attach_offset(self) -> int:
        """Where to attach."""
        return max(0, self._next_offset - 1)

    def admit(self, chunk: Chunk) -> tuple[int, Gap | None]:
        """How many leading messages of the chunk to skip, and the gap before it. Raises `OffsetRegression`."""
        if chunk.first_offset < self._next_offset:
            self._check_same_stream(chunk)
        jump = chunk.first_offset - self._next_offset
        gap = None
        # While the last committed message is there, so is all behind it: a small jump is the broker's own. When it is
        # gone, what came right behind it may be gone as well, and one message may hold a thousand events.
        if jump > (HOUSEKEEPING_OFFSETS_MAX if self.is_proven else 0):
            gap = Gap(self._next_offset, chunk.first_offset, self._last_accepted_at, chunk.accepted_at)
        skip = min(max(0, -jump), chunk.records)
        if skip < chunk.records or chunk.end_offset == self._next_offset:
            self.is_proven = True
        if skip < chunk.records:
            self._next_offset, self._last_accepted_at = chunk.end_offset, chunk.accepted_at
        return skip, gap

    def _check_same_stream(self, chunk: Chunk) -> None:
        """A message that was read before has a time that was seen before."""
        known = self._last_accepted_at
        has_last = chunk.end_offset >= self._next_offset
        if known is None or chunk.accepted_at == known or (chunk.accepted_at < known and not has_last):
            return
        raise OffsetRegression(
            f"offset {chunk.first_offset} was accepted at {chunk.accepted_at.isoformat()}, but offset"
            f" {self._next_offset - 1} was committed with {known.isoformat()}: the stream was deleted and made again,"
            " or the broker lost its end"
        )
