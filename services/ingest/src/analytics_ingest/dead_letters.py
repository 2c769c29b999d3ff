"""The limit on dead letters: some bad messages are put aside, a stream of them stops its partition. Pure."""

from collections import deque

from analytics_core.errors import AnalyticsError
from analytics_ingest.batch import Batch
from analytics_ingest.limits import DEAD_LETTER_WINDOW
from analytics_ingest.stops import History

NO_HISTORY = History()


class DeadLetterLimitReached(AnalyticsError):
    """So many messages are bad that a producer or this service is broken; binning them on would hide it.

    `through` is the last offset of the batch that was not committed.
    """

    def __init__(self, detail: str, batch: Batch) -> None:
        super().__init__(f"{detail}; {_example(batch)}")
        self.through = batch.last_offset


class DeadLetterLimit:
    """Watches one partition's batches, in order, from where `history` ends; none reaches over the offset it allows."""

    def __init__(self, ratio_max: float, run_max: int, history: History = NO_HISTORY) -> None:
        self._ratio_max = ratio_max
        self._run_max = run_max
        self._allowed_through = history.allowed_through
        self._run = 0
        self._window: deque[tuple[int, int]] = deque()
        for received, rejected, rejected_tail in history.latest:
            self._run = self._run + rejected if rejected == received else rejected_tail
            self._remember(received, rejected)

    def check(self, batch: Batch) -> None:
        """Raise `DeadLetterLimitReached` for a batch that must not be committed."""
        if batch.last_offset <= self._allowed_through:
            return
        self._run_after(batch)
        received = sum(count for count, _ in self._window) + batch.received
        rejected = sum(count for _, count in self._window) + len(batch.dead_letters)
        if received >= DEAD_LETTER_WINDOW and batch.dead_letters and rejected > self._ratio_max * received:
            raise DeadLetterLimitReached(
                f"{rejected} of the latest {received} messages are dead letters, more than"
                f" INGESTION_DEAD_LETTER_RATIO_MAX={self._ratio_max:g}",
                batch,
            )

    def record(self, batch: Batch) -> None:
        """The batch is committed: it counts from now on."""
        if batch.last_offset > self._allowed_through:
            self._run = self._run_after(batch)
            self._remember(batch.received, len(batch.dead_letters))

    def _remember(self, received: int, rejected: int) -> None:
        self._window.append((received, rejected))
        total = sum(count for count, _ in self._window)
        while total - self._window[0][0] >= DEAD_LETTER_WINDOW:
            total -= self._window.popleft()[0]

    def _run_after(self, batch: Batch) -> int:
        """The number of dead letters in a row that the stream ends with after the batch."""
        run, expected = self._run, 0
        for letter in batch.dead_letters:
            run = run + 1 if letter.position == expected else 1
            expected = letter.position + 1
            if run >= self._run_max:
                raise DeadLetterLimitReached(
                    f"{run} dead letters in a row up to offset {letter.offset}, the limit is"
                    f" INGESTION_DEAD_LETTER_RUN_MAX={self._run_max}",
                    batch,
                )
        return run if expected == batch.received else 0


def _example(batch: Batch) -> str:
    letter = batch.dead_letters[-1]
    return f"offset {letter.offset}: {letter.rejection.reason}: {letter.rejection.detail}"
