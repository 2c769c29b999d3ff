"""The arithmetic of rate limits against a bucket that fills evenly, and what the process keeps of its callers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.http.rate_limits import cells
from analytics_core.http.rate_limits.cells import LocalCells
from analytics_core.http.rate_limits.gcra import MICROSECONDS, Quota, Verdict, take

QUOTAS = st.builds(Quota, st.integers(1, 2_000), st.integers(1, 50))
PAUSES = st.lists(st.one_of(st.just(0), st.integers(0, 3_000), st.integers(0, 3 * MICROSECONDS)), max_size=200)


class Bucket:
    """Holds a burst, fills by one in each interval, and a request takes one out if it is there."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._filled_us = quota.depth_us

    def take(self, pause_us: int) -> tuple[bool, int]:
        """Whether the request after a pause passes, and how many more would."""
        self._filled_us = min(self._quota.depth_us, self._filled_us + pause_us)
        allowed = self._filled_us >= self._quota.interval_us
        if allowed:
            self._filled_us -= self._quota.interval_us
        return allowed, self._filled_us // self._quota.interval_us


@given(QUOTAS, PAUSES)
def test_requests_pass_as_from_a_bucket(quota: Quota, pauses: list[int]) -> None:
    """Bursts, steady calls and pauses in any order; a refusal costs the caller nothing."""
    bucket, now_us, busy_until_us = Bucket(quota), 10**15, 0
    for pause_us in pauses:
        now_us += pause_us
        verdict = take(quota, busy_until_us, now_us)
        busy_until_us = now_us + verdict.busy_us

        assert (verdict.allowed, verdict.remaining) == bucket.take(pause_us)


@given(QUOTAS, PAUSES)
def test_no_stretch_of_time_has_more_than_a_burst_and_the_rate(quota: Quota, pauses: list[int]) -> None:
    """The promise itself, counted."""
    now_us, busy_until_us, passed = 0, 0, []
    for pause_us in pauses:
        now_us += pause_us
        verdict = take(quota, busy_until_us, now_us)
        busy_until_us = now_us + verdict.busy_us
        passed += [now_us] if verdict.allowed else []

    for count, end_us in enumerate(passed):
        for before, start_us in enumerate(passed[:count]):
            assert count - before + 1 <= quota.burst + (end_us - start_us) // quota.interval_us


@given(QUOTAS, st.integers(0, 10**16), st.integers(0, 10**16))
def test_a_caller_that_waits_as_told_passes(quota: Quota, busy_until_us: int, now_us: int) -> None:
    """Whatever was stored, by a clock that was set back too: after Retry-After one passes, after `t` a whole burst."""
    verdict = take(quota, busy_until_us, now_us)
    busy_until_us = now_us + verdict.busy_us

    assert verdict.allowed or verdict.remaining == 0
    assert take(quota, busy_until_us, now_us + verdict.retry_seconds * MICROSECONDS).allowed
    full = take(quota, busy_until_us, now_us + verdict.reset_seconds * MICROSECONDS)
    assert full == Verdict(quota, True, quota.interval_us)
    assert verdict.reset_seconds <= quota.window_seconds


def test_the_process_forgets_the_callers_seen_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded however many callers there are; who has just called is not forgotten."""
    monkeypatch.setattr(cells, "LOCAL_CALLERS_MAX", 3)
    local, once = LocalCells(lambda: 0), Quota(1, 1)
    for key in ("first", "a", "b", "first", "c", "d"):
        local.take(key, once)

    assert [local.take(key, once).allowed for key in ("first", "c", "d")] == [False, False, False]
    assert local.take("a", once).allowed
