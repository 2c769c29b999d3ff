"""The generic cell rate algorithm in whole microseconds, pure. `gcra.lua` is `take` as Redis runs it.

A caller has one number: the time until which its past requests keep it busy. Each request adds an interval; one that
would bring it further into the future than a whole burst is refused and adds nothing.
"""

from dataclasses import dataclass

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    """So many requests at once, and `per_second` in the long run."""

    per_second: int
    burst: int

    @property
    def interval_us(self) -> int:
        """What one request costs."""
        return MICROSECONDS // self.per_second

    @property
    def depth_us(self) -> int:
        """How far into the future a caller may be busy."""
        return self.interval_us * self.burst

    @property
    def window_seconds(self) -> int:
        """In which the whole burst comes back to a caller that waits."""
        return _seconds(self.depth_us)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and how long its caller is busy with this one and those before it."""

    quota: Quota
    allowed: bool
    busy_us: int

    @property
    def remaining(self) -> int:
        """Requests that would pass now."""
        return (self.quota.depth_us - self.busy_us) // self.quota.interval_us

    @property
    def reset_seconds(self) -> int:
        """Until the whole burst is there again."""
        return _seconds(self.busy_us)

    @property
    def retry_seconds(self) -> int:
        """Until one request passes."""
        return max(1, _seconds(self.busy_us + self.quota.interval_us - self.quota.depth_us))


def take(quota: Quota, busy_until_us: int, now_us: int) -> Verdict:
    """Judge one request; its caller is then busy until `now_us + verdict.busy_us`.

    A time further ahead than a burst comes from a clock that was set back, or a limit that was wider: it counts as one.
    """
    busy_us = min(max(busy_until_us - now_us, 0), quota.depth_us)
    if busy_us + quota.interval_us > quota.depth_us:
        return Verdict(quota, False, busy_us)
    return Verdict(quota, True, busy_us + quota.interval_us)


def _seconds(microseconds: int) -> int:
    """Rounded up: a caller that waits so long has waited long enough."""
    return -(-microseconds // MICROSECONDS)
