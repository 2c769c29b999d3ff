"""Ctrl-C, kill and a closed terminal: one exception, once, and never in the middle of cleaning up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tools.devstack.problems import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_on_signals() -> None:
    """From now on a request to stop raises Interrupted wherever the command is, the first time."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for each in SIGNALS:
        signal.signal(each, interrupt)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What runs inside is not cut short by a (second) Ctrl-C."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
