"""Which events are new, and which of the others contradict what is stored. Pure."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from analytics_ingest.event_rows import BY_KEY, KEY, occurred_us
from analytics_ingest.limits import DEDUPE_WINDOW

_WINDOW_US = DEDUPE_WINDOW // timedelta(microseconds=1)


class Sifted(NamedTuple):
    """The rows to store, in their order, and how many of the others are conflicts."""

    new: Sequence[bytes]
    conflicts: int


def sift(rows: Sequence[bytes], stored: Sequence[bytes]) -> Sifted:
    """Each event once: `rows` as they came, beside the namesakes that are `stored` already.

    Two events are the same when organisation and id are equal and their times are at most `DEDUPE_WINDOW` apart. The
    first one stays; a later one is a duplicate, and a conflict too when none of the events that it repeats has the same
    content. So it does not matter where a batch ends.
    """
    if not stored and len(set(map(BY_KEY, rows))) == len(rows):
        # Nearly always: a third of the time that the look at each takes.
        return Sifted(rows, 0)
    namesakes: dict[bytes, tuple[bytes, ...]] = {}
    for row in stored:
        namesakes[row[KEY]] = (*namesakes.get(row[KEY], ()), row)
    new: list[bytes] = []
    conflicts = 0
    for row in rows:
        key = row[KEY]
        others = namesakes.get(key)
        if others is None:
            namesakes[key] = (row,)
            new.append(row)
        elif same := [other for other in others if abs(occurred_us(other) - occurred_us(row)) <= _WINDOW_US]:
            conflicts += row not in same
        else:
            namesakes[key] = (*others, row)
            new.append(row)
    return Sifted(new, conflicts)
