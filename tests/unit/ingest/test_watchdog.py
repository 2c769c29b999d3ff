"""Who stands still is ended; who moves, however slowly, is not."""

from datetime import timedelta
from itertools import count
from threading import Event

from analytics_ingest.watchdog import Watchdog

PATIENCE = timedelta(milliseconds=100)


def test_one_that_stands_still_among_others_ends_the_process() -> None:
    """A partition that hangs is not hidden by those beside it."""
    ended, steps = Event(), count()
    with Watchdog([lambda: next(steps), lambda: "still"], PATIENCE, ended.set):
        assert ended.wait(30)


def test_those_that_move_are_left_alone() -> None:
    """Fifty looks, five times its patience, and every one saw a change."""
    ended, enough, steps = Event(), Event(), count()

    def move() -> int:
        step = next(steps)
        if step == 50:
            enough.set()
        return step

    with Watchdog([move], PATIENCE, ended.set):
        assert enough.wait(30)
    assert not ended.is_set()
