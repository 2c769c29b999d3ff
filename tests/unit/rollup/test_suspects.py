"""One bad batch must not hold up the others, and must not be forgotten."""

from analytics_rollup.fold import Claim
from analytics_rollup.limits import SUSPECT_RETRY_SECONDS
from analytics_rollup.suspects import Suspects


class Watch:
    """A clock that stands still until told otherwise."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_without_suspects_everything_is_claimed() -> None:
    """The usual case."""
    assert Suspects().next_claim() == Claim()


def test_batches_that_failed_together_are_tried_one_by_one() -> None:
    """Then the fold goes on with all others at once."""
    suspects = Suspects()
    suspects.failed([4, 5, 6])

    assert [suspects.next_claim() for _ in range(4)] == [Claim(alone=4), Claim(alone=5), Claim(alone=6), Claim()]


def test_a_batch_that_fails_alone_is_left_out_and_tried_again_later() -> None:
    """Once a minute: whatever is wrong with it may have been mended."""
    watch = Watch()
    suspects = Suspects(watch)
    suspects.failed([5])
    before = suspects.next_claim()
    watch.seconds = SUSPECT_RETRY_SECONDS
    due, after = suspects.next_claim(), suspects.next_claim()

    assert suspects.guilty == 1
    assert (before, due, after) == (
        Claim(without=frozenset({5})),
        Claim(alone=5),
        Claim(without=frozenset({5})),
    )


def test_a_batch_that_is_folded_is_no_suspect_any_more() -> None:
    """By whichever process."""
    suspects = Suspects()
    suspects.failed([5])
    suspects.gone(5)
    suspects.gone(6)

    assert suspects.guilty == 0
    assert suspects.next_claim() == Claim()
