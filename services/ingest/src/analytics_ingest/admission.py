"""How much of HTTP ingest's work is let in at once: memory is bounded by saying no early, with a time to come back."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from analytics_core.errors import TooManyRequests, Unavailable

RETRY_AFTER_SECONDS = 1


class Admission:
    """Counts what is in hand of one kind (bytes, events), in all and by caller.

    One caller gets at most half of it: somebody who sends too much must not lock the others out.
    """

    def __init__(self, unit: str, total_max: int) -> None:
        self._unit = unit
        self._total_max = total_max
        self._caller_max = total_max // 2
        self._held: Counter[str] = Counter()
        self._total = 0

    @property
    def held(self) -> int:
        """What is in hand now."""
        return self._total

    @contextmanager
    def hold(self, caller: str, amount: int) -> Iterator[None]:
        """Let `amount` in for the length of the block.

        Raises `TooManyRequests` when the caller has too much in hand already, `Unavailable` when all callers have.
        """
        if self._held[caller] + amount > self._caller_max:
            raise TooManyRequests(
                f"more than {self._caller_max} {self._unit} of yours are being worked on; wait for answers",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        if self._total + amount > self._total_max:
            raise Unavailable("too many events are being worked on", retry_after_seconds=RETRY_AFTER_SECONDS)
        self._held[caller] += amount
        self._total += amount
        try:
            yield
        finally:
            self._total -= amount
            self._held[caller] -= amount
            if not self._held[caller]:
                del self._held[caller]
