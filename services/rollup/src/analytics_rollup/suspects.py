"""Batches that could not be folded are tried alone, so that none of them holds up the others. Pure."""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from analytics_rollup.fold import Claim
from analytics_rollup.limits import SUSPECT_RETRY_SECONDS


class Suspects:
    """Decides what to claim next. The watermark waits for a batch that stays unfolded, and says so."""

    def __init__(self, seconds: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._to_try: deque[int] = deque()
        self._retry_at: dict[int, float] = {}

    @property
    def guilty(self) -> int:
        """How many batches failed alone, too."""
        return len(self._retry_at)

    def next_claim(self) -> Claim:
        """A suspect alone when one's time has come, else everything but the suspects."""
        if self._to_try:
            return Claim(alone=self._to_try.popleft())
        due = [batch_id for batch_id, at in self._retry_at.items() if at <= self._seconds()]
        if due:
            self._retry_at[due[0]] = self._seconds() + SUSPECT_RETRY_SECONDS
            return Claim(alone=due[0])
        return Claim(without=frozenset(self._retry_at))

    def failed(self, batch_ids: Sequence[int]) -> None:
        """A fold of these batches was refused: many are tried one by one next, a single one again later."""
        if len(batch_ids) > 1:
            self._to_try.extend(batch_ids)
        else:
            self._retry_at[batch_ids[0]] = self._seconds() + SUSPECT_RETRY_SECONDS

    def gone(self, batch_id: int) -> None:
        """This batch is folded, by us or by another process, or another one folds it now."""
        self._retry_at.pop(batch_id, None)
