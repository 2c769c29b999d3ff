"""What the broker delivers: a chunk of entries, each an AMQP 1.0 message or a batch of them. Pure.

Layout: https://github.com/rabbitmq/osiris (`osiris_log.erl`) and the stream protocol's `Deliver` command.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from analytics_ingest.amqp import NotAmqp, data_of
from analytics_ingest.limits import INFLATED_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages with consecutive offsets that the broker accepted together."""

    first_offset: int
    records: int
    accepted_at: datetime
    entries: int
    data: bytes

    @property
    def end_offset(self) -> int:
        """The offset after the last message."""
        return self.first_offset + self.records


class Unreadable(NamedTuple):
    """A message without an event's bytes in it: `raw` is what came instead."""

    raw: bytes
    detail: str


class CorruptChunk(Exception):
    """Lengths in the chunk contradict each other, so no message of it can be trusted."""


# A data section's descriptor, and the constructor of its binary: a length of four bytes or of one follows.
_LONG_DATA = b"\x00\x53\x75\xb0"
_SHORT_DATA = b"\x00\x53\x75\xa0"


def read_bodies(chunk: Chunk, headed: list[bytes]) -> Iterator[list[bytes | Unreadable]]:
    """The body of each message of the chunk, one for each offset, part by part. Raises `CorruptChunk` at the first one.

    A part is a run of messages, or one batch of them: what is inflated at a time is never more than
    `INFLATED_BYTES_MAX`, whatever the chunk holds. Whole messages that have more than a body, such as properties, are
    added to `headed`.

    0.6 µs a message on the usual path, a single data section, in a batch or not; rstream's AMQP decoder takes 2.5 µs.
    """
    data = chunk.data
    bodies: list[bytes | Unreadable] = []
    try:
        position, read = _read_messages(data, 0, chunk.entries, bodies, headed)
        entries_left = chunk.entries - read
        _check_rest(chunk, position, entries_left, read)
    except IndexError:
        raise CorruptChunk("it ends inside an entry") from None
    yield bodies
    while entries_left:
        part: list[bytes | Unreadable] = []
        if data[position] & 0x80:
            position, read = _read_sub_batch(data, position, part, headed), 1
        else:
            position, read = _read_messages(data, position, entries_left, part, headed)
        entries_left -= read
        yield part


def _check_rest(chunk: Chunk, position: int, entries: int, records: int) -> None:
    """Raise `CorruptChunk`, or `IndexError`, unless the entries from `position` on are what the chunk says."""
    data = chunk.data
    for _ in range(entries):
        if data[position] & 0x80:
            records += int.from_bytes(data[position + 1 : position + 3], "big")
            position += _SUB_BATCH_HEAD + int.from_bytes(data[position + 7 : position + _SUB_BATCH_HEAD], "big")
        else:
            records += 1
            position += 4 + int.from_bytes(data[position : position + 4], "big")
    if position != len(data) or records != chunk.records:
        raise CorruptChunk(f"{records} messages in {position} bytes, not {chunk.records} in {len(data)}")


def _read_messages(
    data: bytes, position: int, at_most: int, bodies: list[bytes | Unreadable], headed: list[bytes]
) -> tuple[int, int]:
    """Append the bodies of plain messages until a batch begins; where it does and how many there were.

    Raises `IndexError` at the end of the data.
    """
    append = bodies.append
    for read in range(at_most):
        if data[position] & 0x80:
            return position, read
        start = position + 4
        position = start + int.from_bytes(data[position:start], "big")
        section = data[start : start + 4]
        if section == _LONG_DATA and int.from_bytes(data[start + 4 : start + 8], "big") == position - start - 8:
            append(data[start + 8 : position])
        elif section == _SHORT_DATA and data[start + 4] == position - start - 5:
            append(data[start + 5 : position])
        else:
            headed.append(data[start:position])
            append(_body(headed[-1]))
    return position, at_most


def _body(message: bytes) -> bytes | Unreadable:
    try:
        return data_of(message)
    except NotAmqp as error:
        return Unreadable(message, str(error))


# Kind, number of messages, their length inflated, and that of what follows.
_SUB_BATCH_HEAD = 11
_NO_COMPRESSION = 0
_GZIP = 1
_GZIP_WINDOW = 31


def _read_sub_batch(data: bytes, position: int, bodies: list[bytes | Unreadable], headed: list[bytes]) -> int:
    """Append the messages of the batch at `position`; where the next entry begins.

    A batch that cannot be read yields as many `Unreadable` as it has messages, none where it says that it has none; the
    first one has its bytes.
    """
    compression = (data[position] & 0x70) >> 4
    records = int.from_bytes(data[position + 1 : position + 3], "big")
    start = position + _SUB_BATCH_HEAD
    end = start + int.from_bytes(data[position + 7 : start], "big")
    packed = data[start:end]
    try:
        bodies += _split(_inflate(packed, compression, INFLATED_BYTES_MAX), records, headed)
    except ValueError as error:
        first = Unreadable(packed, f"batch of {records} messages: {error}")
        others = Unreadable(b"", "in the unreadable batch that the message before it began")
        bodies += [first, *[others] * (records - 1)][:records]
    return end


def _inflate(packed: bytes, compression: int, bytes_max: int) -> bytes:
    if compression == _NO_COMPRESSION:
        return packed
    if compression != _GZIP:
        raise ValueError(f"compression {compression} is not supported, only gzip is")
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = inflater.decompress(packed, bytes_max + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(unpacked) > bytes_max or not inflater.eof:
        raise ValueError(f"inflates to more than {bytes_max} bytes, or is cut off")
    return unpacked


def _split(unpacked: bytes, records: int, headed: list[bytes]) -> list[bytes | Unreadable]:
    bodies: list[bytes | Unreadable] = []
    try:
        position, _ = _read_messages(unpacked, 0, records, bodies, headed)
    except IndexError:
        raise ValueError("it has fewer messages than it says") from None
    if position != len(unpacked):
        raise ValueError(f"its lengths add up to {position} of {len(unpacked)} bytes")
    return bodies
