"""What a waiting user reads: one line per step, with the time it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A step is announced when it starts if it is known to take longer than this; shorter ones get one line at their end.
_STARTED = time.monotonic()


def say(text: str) -> None:
    """One progress line on stderr with the seconds since the command began; stdout stays free for results."""
    print(f"[{time.monotonic() - _STARTED:5.1f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announces a slow step and says how long it took; says nothing more when it fails."""
    say(f"{text} …")
    began = time.monotonic()
    yield
    say(f"{text}: done in {time.monotonic() - began:.1f} s")
