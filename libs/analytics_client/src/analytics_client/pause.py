"""Pauses between tries."""

import random

FIRST_SECONDS = 0.25
MAX_SECONDS = 10.0


class Pauses:
    """Each about twice as long as the one before, jittered so that producers do not come back in step."""

    def __init__(self) -> None:
        self._next_seconds = FIRST_SECONDS

    def next_seconds(self) -> float:
        """The pause before the next try."""
        seconds = self._next_seconds * random.uniform(0.75, 1.25)  # noqa: S311 — jitter needs no cryptography
        self._next_seconds = min(self._next_seconds * 2, MAX_SECONDS)
        return seconds
