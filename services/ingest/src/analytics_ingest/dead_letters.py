"""The limit on dead letters: some bad messages are put aside, a stream of them stops its partition. Pure."""

from collections import deque

from analytics_core.errors import AnalyticsError
from analytics_ingest.batch import Batch
from analytics_ingest.limits import DEAD_LETTER_WINDOW


class DeadLetterLimitReached(AnalyticsError):
    """So many messages are bad that a producer or this service is broken; binning them on would hide it."""


class DeadLetterLimit:
    """Watches one partition's batches, in order."""

    def __init__(self, ratio_max: float, run_max: int) -> None:
        self._ratio_max = ratio_max
        self._run_max = run_max
        self._run = 0
        self._window: deque[tuple[int, int]] = deque()

    def check(self, batch: Batch) -> None:
        """Raise `DeadLetterLimitReached` for a batch that must not be committed."""
        self._run_after(batch)
        received = sum(count for count, _ in self._window) + batch.received
        rejected = sum(count for _, count in self._window) + len(batch.dead_letters)
        if received >= DEAD_LETTER_WINDOW and batch.dead_letters and rejected > self._ratio_max * received:
            raise DeadLetterLimitReached(
                f"{rejected} of the latest {received} messages are dead letters, more than"
                f" INGESTION_DEAD_LETTER_RATIO_MAX={self._ratio_max:g}; {_example(batch)}"
            )

    def record(self, batch: Batch) -> None:
        """The batch is committed: it counts from now on."""
        self._run = self._run_after(batch)
        self._window.append((batch.received, len(batch.dead_letters)))
        received = sum(count for count, _ in self._window)
        while received - self._window[0][0] >= DEAD_LETTER_WINDOW:
            received -= self._window.popleft()[0]

    def _run_after(self, batch: Batch) -> int:
        """The number of dead letters in a row that the stream ends with after the batch."""
        run, expected = self._run, 0
        for letter in batch.dead_letters:
            run = run + 1 if letter.position == expected else 1
            expected = letter.position + 1
            if run >= self._run_max:
                raise DeadLetterLimitReached(
                    f"{run} dead letters in a row up to offset {letter.offset}, the limit is"
                    f" INGESTION_DEAD_LETTER_RUN_MAX={self._run_max}; {_example(batch)}"
                )
        return run if expected == batch.received else 0


def _example(batch: Batch) -> str:
    letter = batch.dead_letters[-1]
    return f"offset {letter.offset}: {letter.rejection.reason}: {letter.rejection.detail}"
