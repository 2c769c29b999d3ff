"""Whether a delivery continues what is committed: the message before the position is the witness."""

from datetime import datetime, timedelta

import pytest

from analytics_core.testing.builders import NOON
from analytics_ingest.chunks import Chunk
from analytics_ingest.continuity import Continuity, Gap, OffsetRegression

LATER = NOON + timedelta(seconds=1)
EARLIER = NOON - timedelta(seconds=1)


def chunk(first_offset: int, records: int, accepted_at: datetime = NOON) -> Chunk:
    return Chunk(first_offset, records, accepted_at, entries=records, data=b"")


def test_a_new_stream_is_read_from_its_first_message() -> None:
    """Nothing is committed, so nothing can be skipped or missing."""
    continuity = Continuity(0, None)

    assert continuity.attach_offset == 0
    assert continuity.is_proven
    assert continuity.admit(chunk(0, 10)) == (0, None)
    assert continuity.admit(chunk(10, 5, LATER)) == (0, None)


def test_committed_messages_of_the_first_chunk_are_skipped() -> None:
    """The broker begins at a chunk, a batch may have ended inside it."""
    continuity = Continuity(7, NOON)

    before = continuity.is_proven
    assert continuity.attach_offset == 6
    assert continuity.admit(chunk(5, 10)) == (2, None)
    assert (before, continuity.is_proven) == (False, True)
    assert continuity.admit(chunk(15, 5, LATER)) == (0, None)


def test_a_chunk_that_is_all_committed_proves_the_stream() -> None:
    """Attaching behind the last batch brings its last chunk again, and nothing of it is written twice."""
    continuity = Continuity(10, NOON)

    assert continuity.admit(chunk(5, 5)) == (5, None)
    assert continuity.is_proven
    assert continuity.admit(chunk(10, 5, LATER)) == (0, None)


@pytest.mark.parametrize("accepted_at", [EARLIER, LATER])
def test_another_message_at_the_committed_offset_is_a_regression(accepted_at: datetime) -> None:
    """The stream was deleted and made again: skipping by number would drop new events."""
    with pytest.raises(OffsetRegression, match="made again"):
        Continuity(10, NOON).admit(chunk(5, 10, accepted_at))


def test_a_younger_chunk_before_the_committed_offset_is_a_regression() -> None:
    """The broker lost its end and gives its numbers to new messages."""
    with pytest.raises(OffsetRegression):
        Continuity(1000, NOON).admit(chunk(0, 10, LATER))


def test_a_replica_that_is_behind_is_waited_for() -> None:
    """After a failover a node may deliver older, committed chunks first; nothing is wrong with the stream."""
    continuity = Continuity(1000, NOON)

    assert continuity.admit(chunk(900, 50, EARLIER)) == (50, None)
    behind = continuity.is_proven
    assert continuity.admit(chunk(950, 60)) == (50, None)
    assert (behind, continuity.is_proven) == (False, True)


def test_removed_messages_are_a_gap() -> None:
    """Retention was faster than ingest: the loss is reported with its bounds, and reading goes on."""
    continuity = Continuity(1000, NOON)

    assert continuity.admit(chunk(5000, 10, LATER)) == (0, Gap(1000, 5000, NOON, LATER))
    assert continuity.is_proven
    assert continuity.admit(chunk(5010, 10, LATER)) == (0, None)


def test_the_brokers_own_entries_are_no_gap() -> None:
    """Snapshots and stored offsets take numbers without being messages."""
    continuity = Continuity(1000, NOON)
    continuity.admit(chunk(990, 10))

    assert continuity.admit(chunk(1001, 10, LATER)) == (0, None)
    assert continuity.admit(chunk(1031, 10, LATER)) == (0, None)


def test_a_small_jump_is_a_gap_when_the_last_committed_message_is_gone() -> None:
    """Retention has been there, and a message may be a thousand events."""
    continuity = Continuity(1000, NOON)

    assert continuity.admit(chunk(1104, 10, LATER)) == (0, Gap(1000, 1104, NOON, LATER))
    assert continuity.admit(chunk(1115, 10, LATER)) == (0, None)


def test_a_jump_while_reading_is_a_gap() -> None:
    """A reader that retention overtakes is moved forward without a word."""
    continuity = Continuity(0, None)
    continuity.admit(chunk(0, 10))

    assert continuity.admit(chunk(100_000, 10, LATER)) == (0, Gap(10, 100_000, NOON, LATER))
