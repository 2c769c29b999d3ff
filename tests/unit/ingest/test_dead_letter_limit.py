"""A few bad messages are put aside; a stream of them stops its partition."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.testing.builders import NOON, event_body
from analytics_ingest.batch import Batch
from analytics_ingest.dead_letters import DeadLetterLimit, DeadLetterLimitReached
from analytics_ingest.stops import Counts, History

GOOD = event_body()


def batch(*outcomes: bool) -> Batch:
    """True stands for a good message."""
    made = Batch(timedelta(days=400))
    made.add([GOOD if good else b"bad" for good in outcomes], 0, NOON)
    return made


def commit(limit: DeadLetterLimit, *outcomes: bool) -> Batch:
    made = batch(*outcomes)
    limit.check(made)
    limit.record(made)
    return made


def test_a_run_within_a_batch_stops() -> None:
    """A producer with a broken serialiser sends nothing else."""
    limit = DeadLetterLimit(1.0, 3)

    with pytest.raises(DeadLetterLimitReached, match="3 dead letters in a row up to offset 3"):
        limit.check(batch(True, False, False, False, True))


def test_a_run_across_batches_stops() -> None:
    """At a low rate a batch holds one or two messages."""
    limit = DeadLetterLimit(1.0, 3)
    commit(limit, True, False)
    commit(limit, False)

    with pytest.raises(DeadLetterLimitReached, match="INGESTION_DEAD_LETTER_RUN_MAX=3"):
        limit.check(batch(False))


def test_a_good_message_ends_a_run() -> None:
    """Bad messages among good ones are everyday life."""
    limit = DeadLetterLimit(1.0, 3)
    commit(limit, False, False)
    commit(limit, True)
    commit(limit, False, False, True, False, False)
    commit(limit, True)


def test_a_batch_that_was_not_committed_does_not_count() -> None:
    """A batch that is tried again must not be added up with itself."""
    limit = DeadLetterLimit(1.0, 3)
    for _ in range(5):
        limit.check(batch(False, False))


def test_the_ratio_counts_from_a_thousand_messages() -> None:
    """Two bad messages out of three are no ratio."""
    limit = DeadLetterLimit(0.5, 10_000)
    commit(limit, *[False, True, False] * 300)

    with pytest.raises(DeadLetterLimitReached, match=r"INGESTION_DEAD_LETTER_RATIO_MAX=0\.5"):
        limit.check(batch(*[False, True, False] * 40))


def test_old_good_messages_do_not_excuse_new_bad_ones() -> None:
    """After a year without trouble a broken producer must be noticed within about a thousand messages."""
    limit = DeadLetterLimit(0.5, 10_000)
    for _ in range(5):
        commit(limit, *[True] * 1000)

    for _ in range(9):
        commit(limit, *[False] * 100)

    with pytest.raises(DeadLetterLimitReached):
        commit(limit, *[False] * 1000)


def test_what_was_committed_before_a_restart_counts() -> None:
    """Else every restart would let as many dead letters through again."""
    committed = History((Counts(400, 0, 0), Counts(500, 500, 500), Counts(100, 50, 7), Counts(60, 60, 60)))

    with pytest.raises(DeadLetterLimitReached, match=r"INGESTION_DEAD_LETTER_RATIO_MAX=0\.5"):
        DeadLetterLimit(0.5, 10_000, committed).check(batch(False))
    with pytest.raises(DeadLetterLimitReached, match="68 dead letters in a row"):
        DeadLetterLimit(1.0, 68, committed).check(batch(False))
    DeadLetterLimit(1.0, 69, committed).check(batch(False))
    DeadLetterLimit(0.5, 10_000, committed).check(batch(True))


def test_what_an_operator_has_allowed_is_neither_checked_nor_counted() -> None:
    """The decision holds up to its offset, and then the limit begins anew."""
    limit = DeadLetterLimit(1.0, 3, History(allowed_through=4))
    commit(limit, False, False, False, False, False)
    later = Batch(timedelta(days=400))
    later.add([b"bad"] * 3, 5, NOON)

    with pytest.raises(DeadLetterLimitReached, match="3 dead letters in a row up to offset 7") as reached:
        limit.check(later)
    assert reached.value.through == 7


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=8), max_size=20), st.booleans())
def test_runs_depend_neither_on_where_batches_end_nor_on_restarts(batches: list[list[bool]], restarts: bool) -> None:
    """The limit speaks of messages; batches, and attachments that know only what is committed, are accidents."""
    flat = [good for outcomes in batches for good in outcomes]
    longest = max((len(run) for run in "".join("x" if not good else " " for good in flat).split()), default=0)
    limit = DeadLetterLimit(1.0, 5)

    def commit_all() -> None:
        current, committed = limit, History()
        for outcomes in batches:
            made = commit(current, *outcomes)
            counts = Counts(made.received, len(made.dead_letters), made.rejected_tail)
            committed = History((*committed.latest, counts))
            current = DeadLetterLimit(1.0, 5, committed) if restarts else limit

    if longest >= 5:
        with pytest.raises(DeadLetterLimitReached):
            commit_all()
    else:
        commit_all()
