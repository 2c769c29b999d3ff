"""Waiting for something to become true, with an end."""

import time
from collections.abc import Callable

POLL_S = 0.05


def eventually(condition: Callable[[], object], patience_s: float = 15) -> None:
    """Returns as soon as `condition()` is true; raises AssertionError when it is not within `patience_s`."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not true after {patience_s} s: {condition}")
        time.sleep(POLL_S)
