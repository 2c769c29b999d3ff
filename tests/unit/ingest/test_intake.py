"""Batches take over what their chunks say, also of a chunk that two of them share."""

import gzip
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rstream import AMQPMessage

from analytics_core.testing.builders import NOON, event_body
from analytics_ingest.batch import BatchSize
from analytics_ingest.chunks import Chunk
from analytics_ingest.continuity import Continuity
from analytics_ingest.intake import Intake


class Delivered:
    """A reader with these chunks, and no more to come."""

    def __init__(self, *chunks: Chunk) -> None:
        self._chunks = list(chunks)

    async def next_chunk(self, _wait: float) -> Chunk | None:
        return self._chunks.pop(0) if self._chunks else None


def chunk(first_offset: int, *traces: int) -> Chunk:
    """A message for each trace; 0 is a message without one."""
    messages = [bytes(AMQPMessage(body=event_body(), application_properties=properties(trace))) for trace in traces]
    data = b"".join(len(message).to_bytes(4, "big") + message for message in messages)
    return Chunk(first_offset=first_offset, records=len(traces), accepted_at=NOON, entries=len(traces), data=data)


def properties(trace: int) -> dict[str, str]:
    return {"traceparent": f"00-{trace:032x}-{trace:016x}-01"} if trace else {"tenant": "a"}


async def test_batches_that_share_a_chunk_have_its_trace_contexts_both() -> None:
    """The event of a request may be in the second of them; the chunk after it brings its own alone."""
    reader: Any = Delivered(chunk(0, 1, 2, 3), chunk(3, 0, 4))
    intake = Intake(reader, Continuity(0, None), 0, timedelta(days=400), BatchSize(), cut=1)

    first = await intake.next_batch(0.05, None)
    second = await intake.next_batch(0.05, None)

    assert first is not None
    assert second is not None
    assert (first.received, second.received) == (2, 3)
    assert [int(trace, 16) for trace, _, _ in first.trace_parents] == [1, 2, 3]
    assert [int(trace, 16) for trace, _, _ in second.trace_parents] == [1, 2, 3, 4]


async def test_a_batch_becomes_no_larger_than_its_process_has_room_for() -> None:
    """The rest of a chunk waits for the next batch."""
    reader: Any = Delivered(chunk(0, 0, 0, 0, 0, 0))
    intake = Intake(reader, Continuity(0, None), 0, timedelta(days=400), BatchSize(events=2))

    batches = [await intake.next_batch(0.05, None) for _ in range(3)]

    assert [batch and batch.received for batch in batches] == [2, 2, 1]


def packed(first_offset: int, *sizes: int) -> Chunk:
    """A compressed batch of so many messages for each size; a message's body says its offset."""
    entries, offset = [], first_offset
    for size in sizes:
        messages = [bytes(AMQPMessage(body=b"%d" % number)) for number in range(offset, offset + size)]
        plain = b"".join(len(message).to_bytes(4, "big") + message for message in messages)
        data = gzip.compress(plain)
        head = b"\x90" + size.to_bytes(2, "big") + len(plain).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        entries.append(head + data)
        offset += size
    return Chunk(first_offset, sum(sizes), NOON, len(entries), b"".join(entries))


@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6).filter(any),
    events=st.integers(1, 5),
    data=st.data(),
)
async def test_every_message_of_compressed_batches_has_its_offset(sizes: list[int], events: int, data: Any) -> None:
    """Wherever a batch of ours ends and wherever what is committed did: each once, none under another's number."""
    committed, cut = data.draw(st.integers(0, sum(sizes))), data.draw(st.integers(-1, sum(sizes)))
    reader: Any = Delivered(packed(0, *sizes), packed(sum(sizes), 2))
    continuity = Continuity(committed, NOON if committed else None)
    intake = Intake(reader, continuity, 0, timedelta(days=400), BatchSize(events=events), cut=cut)

    found: dict[int, bytes] = {}
    while batch := await intake.next_batch(0.01, None):
        assert batch.last_offset <= cut or batch.first_offset > cut
        found |= {letter.offset: letter.rejection.body for letter in batch.dead_letters}

    assert found == {offset: b"%d" % offset for offset in range(committed, sum(sizes) + 2)}


@pytest.mark.parametrize(("partitions", "events"), [(1, 40_000), (2, 40_000), (4, 20_000), (8, 10_000), (1000, 10_000)])
def test_many_partitions_have_smaller_batches(partitions: int, events: int) -> None:
    """A process that is left alone with all of them needs no more memory than it has."""
    size = BatchSize.beside(partitions)

    assert size.events == events
    assert size.size_bytes == 32 * 1024 * 1024 * events // 40_000
