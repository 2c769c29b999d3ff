"""Cursors: where the next page of an organisation's list of exports begins."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

from analytics_export.jobs import JobPosition
from analytics_export.limits import CURSOR_CHARACTERS_MAX

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode_cursor(position: JobPosition) -> str:
    """An opaque text for URLs. It says where to go on, never what may be read."""
    microseconds = (position.created_at - _EPOCH) // _MICROSECOND
    return urlsafe_b64encode(microseconds.to_bytes(8, "big") + position.job_id.bytes).decode()


def decode_cursor(cursor: str) -> JobPosition:
    """The position in a cursor. Raises `ValueError` for anything that `encode_cursor` did not write."""
    try:
        data = urlsafe_b64decode(cursor) if len(cursor) <= CURSOR_CHARACTERS_MAX else b""
        created_at = _EPOCH + int.from_bytes(data[:8], "big") * _MICROSECOND
        position = JobPosition(created_at, UUID(bytes=data[8:]))
    except (ValueError, OverflowError):
        position = None
    if position is None or encode_cursor(position) != cursor:
        raise ValueError("expected the `nextCursor` of the page before")
    return position
