"""Makes up calls as an inference platform sees them.

The rate follows the day (quietest at 03:00, busiest at 15:00 UTC) and drops by 40 % at the weekend; tokens are
log-normal. The numbers of calls per minute are exact shares of the total, the instants inside a minute are uniform.
The same arguments give the same calls, and memory stays flat whatever the number of calls.
"""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from tools.replay.calls import Call, microseconds

MINUTE_US = 60_000_000
DAY_MINUTES = 1440
BUSIEST_MINUTE = 15 * 60
DAILY_SWING = 0.7
WEEKEND_SHARE = 0.6
TOKENS_MAX = 200_000
# Medians and spreads of the Azure conversation trace of 2023: 1,020 context and 129 generated tokens.
INPUT_MEDIAN, INPUT_SPREAD = 1020.0, 1.1
OUTPUT_MEDIAN, OUTPUT_SPREAD = 129.0, 0.9


def generate(count: int, start: datetime, duration: timedelta, seed: int) -> Iterator[Call]:
    """Exactly `count` calls from `start` (inclusive) to `start + duration` (exclusive), in the order of their time."""
    if count < 1 or duration < timedelta(seconds=1):
        raise ValueError("expected at least one call and one second")
    start_us, left_us = microseconds(start), duration // timedelta(microseconds=1)
    weights = _weights(start_us, left_us)
    ends = np.rint(np.cumsum(weights) / weights.sum() * count).astype(np.int64)
    for minute, in_minute in enumerate(np.diff(ends, prepend=0).tolist()):
        length_us = min(MINUTE_US, left_us - minute * MINUTE_US)
        yield from _minute(start_us + minute * MINUTE_US, length_us, in_minute, np.random.default_rng([seed, minute]))


def _weights(start_us: int, duration_us: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """How busy each minute is, the last one by its share of a minute."""
    minutes = math.ceil(duration_us / MINUTE_US)
    since_1970 = start_us // MINUTE_US + np.arange(minutes)
    angle = (since_1970 % DAY_MINUTES - BUSIEST_MINUTE) / DAY_MINUTES * 2 * math.pi
    weekday = (since_1970 // DAY_MINUTES + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    weights = (1 + DAILY_SWING * np.cos(angle)) * np.where(weekday >= 5, WEEKEND_SHARE, 1.0)
    weights[-1] *= (duration_us - (minutes - 1) * MINUTE_US) / MINUTE_US
    return weights


def _minute(start_us: int, length_us: int, count: int, rng: np.random.Generator) -> Iterator[Call]:
    instants = np.sort(rng.integers(start_us, start_us + length_us, count)).tolist()
    inputs = _tokens(rng, INPUT_MEDIAN, INPUT_SPREAD, count)
    outputs = _tokens(rng, OUTPUT_MEDIAN, OUTPUT_SPREAD, count)
    return map(Call, instants, inputs, outputs)


def _tokens(rng: np.random.Generator, median: float, spread: float, count: int) -> list[int]:
    drawn = rng.lognormal(math.log(median), spread, count)
    tokens: list[int] = np.clip(np.rint(drawn), 1, TOKENS_MAX).astype(np.int64).tolist()
    return tokens
