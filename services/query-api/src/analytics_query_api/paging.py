"""Cursors: where the next page begins, readable only together with the query that they belong to."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import msgspec

from analytics_core.query.statements import Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGEST_BYTES = 12
_Body = tuple[int | None, int | None, tuple[str, ...]]


def encode_cursor(position: Position, query: str) -> str:
    """An opaque text that `decode_cursor` accepts for the same `query` alone."""
    microseconds = None if position.bucket is None else (position.bucket - _EPOCH) // _MICROSECOND
    body = msgspec.msgpack.encode((microseconds, position.failed, position.groups))
    return urlsafe_b64encode(_digest(body, query) + body).rstrip(b"=").decode()


def decode_cursor(cursor: str, query: str) -> Position:
    """The position in a cursor. Raises `ValueError` for one that was changed or belongs to another query.

    The digest keeps mistakes out, it is no secret: a cursor says where to go on, never what may be read. So a forged
    one may name any position; all of them are harmless, those that the database could not take are refused here.
    """
    position = None
    try:
        data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        microseconds, failed, groups = msgspec.msgpack.decode(data[_DIGEST_BYTES:], type=_Body)
        bucket = None if microseconds is None else _EPOCH + microseconds * _MICROSECOND
        position = Position(groups, bucket, failed)
    except (ValueError, OverflowError, msgspec.MsgspecError):
        pass
    if position is None or encode_cursor(position, query) != cursor:
        raise ValueError("not a `nextCursor` of this very query; only limit may differ between its pages")
    return position


def _digest(body: bytes, query: str) -> bytes:
    return hashlib.sha256(body + b"\0" + query.encode()).digest()[:_DIGEST_BYTES]
