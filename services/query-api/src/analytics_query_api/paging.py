"""Cursors: where the next page of a series begins, readable only together with the query that they belong to."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGEST_BYTES = 12


class Position(msgspec.Struct, frozen=True):
    """The last point of a page, by its key; no model where a series has one point a bucket."""

    bucket_start: datetime
    model_id: str | None


def encode_cursor(position: Position, query: str) -> str:
    """An opaque text that `decode_cursor` accepts for the same `query` alone."""
    body = msgspec.msgpack.encode(((position.bucket_start - _EPOCH) // _MICROSECOND, position.model_id))
    return urlsafe_b64encode(_digest(body, query) + body).rstrip(b"=").decode()


def decode_cursor(cursor: str, query: str) -> Position:
    """The position in a cursor. Raises `ValueError` for one that was changed or belongs to another query.

    The digest keeps mistakes out, it is no secret: a cursor says where to go on, never what may be read.
    """
    try:
        data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        microseconds, model_id = msgspec.msgpack.decode(data[_DIGEST_BYTES:], type=tuple[int, str | None])
        position = Position(_EPOCH + microseconds * _MICROSECOND, model_id)
    except (ValueError, OverflowError, msgspec.MsgspecError):
        position = None
    if position is None or encode_cursor(position, query) != cursor:
        raise ValueError("not a `nextCursor` of this very query; only limit may differ between its pages")
    return position


def _digest(body: bytes, query: str) -> bytes:
    return hashlib.sha256(body + b"\0" + query.encode()).digest()[:_DIGEST_BYTES]
