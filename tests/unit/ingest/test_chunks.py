"""A chunk gives one body for each offset, in order, whatever its entries look like."""

import gzip
from datetime import UTC, datetime
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rstream import AMQPMessage

from analytics_ingest import chunks
from analytics_ingest.chunks import Chunk, CorruptChunk, Unreadable, read_bodies

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def entry(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def amqp(body: bytes) -> bytes:
    return bytes(AMQPMessage(body=body))


def sub_batch(messages: list[bytes], compression: int = 0, packed: bytes | None = None) -> bytes:
    plain = b"".join(entry(message) for message in messages)
    data = packed if packed is not None else gzip.compress(plain) if compression == 1 else plain
    head = bytes([0x80 | compression << 4]) + len(messages).to_bytes(2, "big")
    return head + len(plain).to_bytes(4, "big") + len(data).to_bytes(4, "big") + data


def bodies_of(chunk: Chunk) -> list[bytes | Unreadable]:
    return list(chain.from_iterable(read_bodies(chunk, [])))


def chunk(*entries: bytes, records: int) -> Chunk:
    return Chunk(first_offset=7, records=records, accepted_at=NOON, entries=len(entries), data=b"".join(entries))


BODIES = st.binary(min_size=1, max_size=300)


@given(st.lists(BODIES | st.lists(BODIES, min_size=1, max_size=5), max_size=8))
def test_bodies_come_in_the_order_of_their_offsets(sent: list[bytes | list[bytes]]) -> None:
    """The offset of a message is its place in the chunk: a body too many or too few would shift all that follow."""
    entries = [
        sub_batch([amqp(body) for body in item], compression=len(item) % 2)
        if isinstance(item, list)
        else entry(amqp(item))
        for item in sent
    ]
    bodies = [body for item in sent for body in (item if isinstance(item, list) else [item])]

    assert bodies_of(chunk(*entries, records=len(bodies))) == bodies


def test_a_message_that_is_no_amqp_keeps_its_place() -> None:
    """It becomes a dead letter with its bytes; its neighbours are events."""
    bodies = bodies_of(chunk(entry(amqp(b"a")), entry(b"{}"), entry(b""), entry(amqp(b"b")), records=4))

    assert [bodies[0], bodies[3]] == [b"a", b"b"]
    assert isinstance(bodies[1], Unreadable)
    assert bodies[1].raw == b"{}"
    assert isinstance(bodies[2], Unreadable)


def test_an_unsupported_compression_costs_only_its_own_messages() -> None:
    """One dead letter a message, so that received still equals what the broker counted; the first has the bytes."""
    bodies = bodies_of(chunk(sub_batch([b"x", b"y"], 4, packed=b"zstd"), entry(amqp(b"after")), records=3))

    assert bodies[2] == b"after"
    first, second = bodies[:2]
    assert isinstance(first, Unreadable)
    assert isinstance(second, Unreadable)
    assert first.raw == b"zstd"
    assert "only gzip" in first.detail
    assert second.raw == b""


def test_a_batch_that_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kilobyte of gzip can be a gigabyte of zeros: memory is bounded before it is taken."""
    monkeypatch.setattr(chunks, "INFLATED_BYTES_MAX", 10_000)
    bomb = gzip.compress(entry(b"0" * 1_000_000))

    bodies = bodies_of(chunk(sub_batch([b""], 1, packed=bomb), sub_batch([amqp(b"ok")], 1), records=2))

    assert isinstance(bodies[0], Unreadable)
    assert "more than 10000 bytes" in bodies[0].detail
    assert bodies[1] == b"ok"


def test_each_batch_of_a_chunk_may_inflate_as_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker packs what has queued up into one chunk: hundreds of batches, each of them as it should be."""
    monkeypatch.setattr(chunks, "INFLATED_BYTES_MAX", 10_000)
    batches = [sub_batch([amqp(b"%d" % number * 4_000)], 1) for number in range(9)]

    parts = list(read_bodies(chunk(*batches, records=9), []))

    assert list(chain.from_iterable(parts)) == [b"%d" % number * 4_000 for number in range(9)]
    assert max(map(len, parts)) == 1


@pytest.mark.parametrize("packed", [b"", b"junk", gzip.compress(b"")], ids=["nothing", "junk", "empty gzip"])
@pytest.mark.parametrize("compression", [0, 1, 4])
def test_a_batch_without_messages_takes_no_offset(packed: bytes, compression: int) -> None:
    """The broker confirms it as it does any other; its neighbours are events."""
    empty = sub_batch([], compression, packed=packed)

    assert bodies_of(chunk(entry(amqp(b"a")), empty, entry(amqp(b"b")), records=2)) == [b"a", b"b"]


@pytest.mark.parametrize("packed", [b"", b"no gzip", gzip.compress(b"abc")[:-3]], ids=["empty", "no gzip", "cut off"])
def test_broken_gzip_is_unreadable(packed: bytes) -> None:
    """The broker does not look into compressed batches, so anything may be in them."""
    bodies = bodies_of(chunk(sub_batch([b"x"], 1, packed=packed), records=1))

    assert isinstance(bodies[0], Unreadable)


@pytest.mark.parametrize(
    "packed",
    [b"", entry(amqp(b"x")), entry(amqp(b"x")) * 3, entry(amqp(b"x") * 2)[:-1] * 2, b"\x80" + entry(amqp(b"x")) * 2],
    ids=["empty", "one message of two", "a third message", "cut off", "a length beyond all"],
)
@pytest.mark.parametrize("compression", [0, 1])
def test_a_batch_with_wrong_lengths_costs_only_its_own_messages(packed: bytes, compression: int) -> None:
    """The chunk around it is right: refusing all of it would stop the partition here for ever."""
    data = gzip.compress(packed) if compression else packed

    bodies = bodies_of(chunk(sub_batch([b"", b""], compression, packed=data), entry(amqp(b"after")), records=3))

    first, second, after = bodies
    assert isinstance(first, Unreadable)
    assert first.raw == data
    assert isinstance(second, Unreadable)
    assert second.raw == b""
    assert after == b"after"


@pytest.mark.parametrize(
    ("data", "entries", "records"),
    [
        (entry(b"abc")[:-1], 1, 1),
        (entry(b"abc") + b"x", 1, 1),
        (entry(b"abc"), 2, 2),
        (entry(b"abc"), 1, 2),
        (sub_batch([b"x"]) + sub_batch([b"y"])[:-1], 2, 2),
        (sub_batch([b"x"]) + sub_batch([b"y"]) + b"x", 2, 2),
        (sub_batch([b"x"]) + entry(b"abc"), 2, 3),
        (sub_batch([b"x"]) + entry(b"abc"), 3, 2),
    ],
)
def test_a_chunk_with_wrong_lengths_is_not_read(data: bytes, entries: int, records: int) -> None:
    """Guessing where a message begins would give events to the wrong offsets."""
    with pytest.raises(CorruptChunk):
        bodies_of(Chunk(first_offset=0, records=records, accepted_at=NOON, entries=entries, data=data))
