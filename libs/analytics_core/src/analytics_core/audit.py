"""The audit trail: every access decision is in the database before its caller gets an answer.

Decisions of concurrent requests share one INSERT (group commit), so the trail costs a request about one commit,
and under load far less.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog

from analytics_core.access import AnyDecision
from analytics_core.database import WriteDatabase
from analytics_core.errors import Unavailable

# More than one screenful of a subject, path or id is an attack on the table, not information.
TEXT_MAX = 500
ROLES_MAX = 50
GROUP_MAX = 500
# Decisions that may wait while the database is away, 20 s of full load; their callers have long had a 503.
WAITING_MAX = 20_000
# A caller waits no longer for the record than for the query; the record may still be written after the 503.
RECORD_SECONDS_MAX = 5.0

_INSERT = """
INSERT INTO analytics.audit_log
    (decided_at, service, subject, roles, org_id, action, decision, reason, request_id, method, path)
SELECT decided_at, $1, subject, string_to_array(roles, E'\\x1f'), org_id, action, decision, reason, request_id,
    method, path
FROM unnest($2::timestamptz[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[])
    AS entry (decided_at, subject, roles, org_id, action, decision, reason, request_id, method, path)
"""

_SEPARATOR = "\x1f"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One decision with the request that it was made for."""

    decided_at: datetime
    decision: AnyDecision
    request_id: str
    method: str
    path: str


class AuditLog:
    """Writes entries in groups. `run` is its one writer; `record` returns once the entry is committed."""

    def __init__(self, database: WriteDatabase, service: str) -> None:
        self._database = database
        self._service = service
        self._waiting: list[tuple[AuditEntry, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    async def record(self, entry: AuditEntry) -> None:
        """Commit the entry. Raises what the database raised: without a record there must be no answer."""
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("too many audit records wait for the database")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        """Write until cancelled, then once more: nobody who recorded an entry is left waiting."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._write_group()
        finally:
            while self._waiting:
                await self._write_group()

    async def _write_group(self) -> None:
        group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
        try:
            await self._database.execute(_INSERT, self._service, *_columns([entry for entry, _ in group]))
        except Exception as error:
            log.exception("audit_write_failed", entries=len(group))
            _settle(group, error)
        except asyncio.CancelledError:
            # Stopped in the middle: whether it was committed is unknown, so nobody gets an answer for it.
            _settle(group, Unavailable("the service is stopping"))
            raise
        else:
            _settle(group, None)


def _settle(group: Sequence[tuple[AuditEntry, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, done in group:
        with suppress(asyncio.InvalidStateError):  # the request was cancelled meanwhile
            done.set_result(None) if error is None else done.set_exception(error)


def _columns(entries: Sequence[AuditEntry]) -> tuple[list[object], ...]:
    rows = [
        (
            entry.decided_at,
            _text(entry.decision.principal.subject),
            _SEPARATOR.join(
                _text(role).replace(_SEPARATOR, "\N{REPLACEMENT CHARACTER}")
                for role in sorted(entry.decision.principal.roles)[:ROLES_MAX]
            ),
            entry.decision.org_id,
            entry.decision.action.value,
            "allow" if entry.decision.allowed else "deny",
            _text(entry.decision.reason),
            _text(entry.request_id),
            _text(entry.method),
            _text(entry.path),
        )
        for entry in entries
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))


def _text(value: str) -> str:
    """Something PostgreSQL can store: no NUL, no half of a surrogate pair (JSON may bring one), bounded."""
    storable = value[:TEXT_MAX].encode("utf-8", "replace").decode("utf-8")
    return storable.replace("\0", "\N{REPLACEMENT CHARACTER}")
