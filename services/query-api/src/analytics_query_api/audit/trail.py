"""What the audit API shows: records, newest first, a page at a time."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from analytics_core.access import OrgScope, PlatformScope
from analytics_core.database import ReadSession
from analytics_core.sql import load_queries

QUERIES = load_queries("analytics_query_api", "audit_trail")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TrailPosition:
    """The last record of a page."""

    decided_at: datetime
    audit_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailQuestion:
    """Which records, newest first: those decided in [start, end) that match every filter given."""

    org_id: UUID | None
    start: datetime
    end: datetime
    subject: str | None
    action: str | None
    decision: str | None
    after: TrailPosition | None
    limit: int


class AuditRecord(msgspec.Struct, frozen=True, rename="camel"):
    """One access decision, as it was recorded before its answer left."""

    audit_id: int
    decided_at: datetime
    service: str
    subject: str
    roles: list[str]
    org_id: UUID | None
    action: str
    decision: str
    reason: str
    request_id: str
    method: str
    path: str


class AuditPage(msgspec.Struct, frozen=True, rename="camel"):
    """Records, newest first; `nextCursor` is null on the last page."""

    items: list[AuditRecord]
    next_cursor: str | None


async def audit_page(session: ReadSession, scope: OrgScope | PlatformScope, question: TrailQuestion) -> AuditPage:
    """The page that follows `question.after`."""
    rows = await session.fetch(
        QUERIES["newest_records"],
        scope.org_id if isinstance(scope, OrgScope) else question.org_id,
        question.start,
        question.end,
        question.subject,
        question.action,
        question.decision,
        question.after.decided_at if question.after else None,
        question.after.audit_id if question.after else None,
        # One more than asked for tells whether another page follows.
        question.limit + 1,
    )
    return AuditPage([AuditRecord(**row) for row in rows[: question.limit]], _next_cursor(rows, question.limit))


def _next_cursor(rows: Sequence[Any], limit: int) -> str | None:
    return (
        encode_cursor(TrailPosition(rows[limit - 1]["decided_at"], rows[limit - 1]["audit_id"]))
        if len(rows) > limit
        else None
    )


def encode_cursor(position: TrailPosition) -> str:
    """An opaque text for `decode_cursor`. It says where to go on, never what may be read."""
    body = msgspec.msgpack.encode(((position.decided_at - _EPOCH) // _MICROSECOND, position.audit_id))
    return urlsafe_b64encode(body).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> TrailPosition:
    """The position in a cursor. Raises `ValueError` for anything but a `nextCursor`."""
    try:
        body = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        microseconds, audit_id = msgspec.msgpack.decode(body, type=tuple[int, int])
        position = TrailPosition(_EPOCH + microseconds * _MICROSECOND, audit_id)
    except (ValueError, OverflowError, msgspec.MsgspecError):
        position = None
    if position is None or encode_cursor(position) != cursor or abs(position.audit_id) >= 2**63:
        raise ValueError("not a `nextCursor` of this list")
    return position
