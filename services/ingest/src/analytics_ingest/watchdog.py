"""The last resort: a process that makes no move any more ends itself, and is started anew by whoever runs it.

Waits are bounded, connections are rebuilt. What is left is what nobody thought of: a database connection that is half
open in the middle of a transaction (its driver waits for ever), a blocked event loop.
"""

import faulthandler
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Event, Thread

import structlog

EXIT_STUCK = 70
LOOKS_PER_PATIENCE = 10

log = structlog.get_logger()


def end_process() -> None:
    """Show where every thread is, and end without another word to anybody."""
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(EXIT_STUCK)


class Watchdog:
    """Looks, from a thread of its own, whether each of `moves` still changes. It counts looks, not time: a process that
    was frozen for an hour has missed none.
    """

    def __init__(
        self, moves: Sequence[Callable[[], object]], patience: timedelta, end: Callable[[], None] = end_process
    ) -> None:
        self._moves = moves
        self._pause_seconds = patience.total_seconds() / LOOKS_PER_PATIENCE
        self._end = end
        self._stopped = Event()
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        seen: list[object] = [None] * len(self._moves)
        still = [0] * len(self._moves)
        while not self._stopped.wait(self._pause_seconds):
            for index, move in enumerate(self._moves):
                now = move()
                still[index] = still[index] + 1 if now == seen[index] else 0
                seen[index] = now
                if still[index] >= LOOKS_PER_PATIENCE:
                    log.critical("stuck", place=index, seconds=self._pause_seconds * LOOKS_PER_PATIENCE)
                    self._end()
                    return
