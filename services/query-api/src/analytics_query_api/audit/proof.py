"""Proves that the audit trail is what was written: walks every chain and names each place where it is not."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from analytics_core.access import PlatformScope
from analytics_core.database import ReadDatabase, ReadSession
from analytics_core.sql import load_queries
from analytics_query_api.audit.hashing import NO_KEY, NO_ORG, START, ChainKeys, canonical
from analytics_query_api.limits import AUDIT_FINDINGS_MAX

QUERIES = load_queries("analytics_query_api", "audit_proof")
EXPIRE = "audit:expire"


# No retention is shorter: a record that says so is not believed.
RETENTION_MIN = timedelta(days=30)


class Fault(StrEnum):
    """altered: record or order is not what was linked. truncated: the chain ended later once. unlinked: a record
    outside of the chain. unsigned: a link without key behind one with a key."""

    ALTERED = "altered"
    RECORD_MISSING = "record-missing"
    LINK_MISSING = "link-missing"
    TRUNCATED = "truncated"
    UNLINKED = "unlinked"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown-key"


class Head(msgspec.Struct, frozen=True, rename="camel"):
    """Where a chain ends. Kept somewhere else, it proves later that nothing behind it was cut or made anew."""

    org_id: UUID
    seq: int
    hash: str


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """One place where the trail is not what was written."""

    org_id: UUID
    fault: Fault
    seq: int | None = None
    audit_id: int | None = None


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What a proof looked at, what it found, and the heads for the next one.

    `expired` records are gone by retention, all from before `dropped_before`; their links are whole.
    """

    records: int
    expired: int
    dropped_before: datetime | None
    chains: int
    intact: bool
    findings: list[Finding]
    heads: list[Head]


class _Walk:
    """Goes along the links in order and keeps what it found, at most `AUDIT_FINDINGS_MAX` places."""

    def __init__(self, keys: ChainKeys, expected: Mapping[UUID, list[Head]], dropped_before: datetime | None) -> None:
        self._keys = keys
        self.dropped_before = dropped_before
        self._expected = expected
        self._reached: set[tuple[UUID, int]] = set()
        self._org: UUID | None = None
        self._seq, self._previous, self._key_id = 0, START, NO_KEY
        self.findings: list[Finding] = []
        self.heads: dict[UUID, Head] = {}
        self.records = self.expired = 0

    def step(self, row: Any) -> None:
        if row["chain_org"] != self._org:
            self._org = row["chain_org"]
            self._seq, self._previous, self._key_id = 0, START, NO_KEY
        seq, digest, key_id = row["seq"], bytes(row["hash"]), row["key_id"]
        if seq != self._seq + 1:
            self.find(self._org, Fault.LINK_MISSING, self._seq + 1)
        if key_id == NO_KEY != self._key_id:
            self.find(self._org, Fault.UNSIGNED, seq, row["linked_id"])
        fault = self._fault(row, key_id, digest)
        if fault is not None:
            self.find(self._org, fault, seq, row["linked_id"])
        head = Head(self._org, seq, digest.hex())
        for expected in self._expected.get(self._org, ()):
            if expected.seq == seq and expected.hash != head.hash:
                self.find(self._org, Fault.ALTERED, seq, row["linked_id"])
        self.heads[self._org] = head
        self._seq, self._previous, self._key_id = seq, digest, key_id
        self.records += row["audit_id"] is not None

    def _fault(self, row: Any, key_id: str, digest: bytes) -> Fault | None:
        if row["audit_id"] is None:
            if self.dropped_before is None or row["linked_at"] >= self.dropped_before:
                return Fault.RECORD_MISSING
            self.expired += 1
            return None
        if not self._keys.knows(key_id):
            return Fault.UNKNOWN_KEY
        record_org = row["org_id"] or NO_ORG
        if record_org != row["chain_org"]:
            return Fault.ALTERED
        expected = self._keys.link_hash(key_id, self._previous, canonical(row))
        return None if expected == digest else Fault.ALTERED

    def end(self) -> None:
        """The chains must reach at least as far as they once did."""
        for org_id, heads in self._expected.items():
            last = self.heads[org_id].seq if org_id in self.heads else 0
            if last < max(head.seq for head in heads):
                self.find(org_id, Fault.TRUNCATED, last)

    def find(self, org_id: UUID | None, fault: Fault, seq: int | None = None, audit_id: int | None = None) -> None:
        finding = Finding(org_id or NO_ORG, fault, seq, audit_id)
        if len(self.findings) < AUDIT_FINDINGS_MAX and finding not in self.findings[-2:]:
            self.findings.append(finding)


async def prove(
    database: ReadDatabase, scope: PlatformScope, keys: ChainKeys, *, only_org: UUID | None, anchor: Sequence[Head]
) -> Report:
    """Walk the chains of one organisation or of all, in one snapshot. `anchor`: heads of an earlier report."""
    async with database.read(scope, repeatable=True) as session:
        stored = [
            Head(row["org_id"], row["seq"], bytes(row["hash"]).hex())
            for row in await session.fetch(QUERIES["all_heads"], only_org)
        ]
        expected: dict[UUID, list[Head]] = {}
        for head in (*stored, *(head for head in anchor if only_org in {None, head.org_id})):
            expected.setdefault(head.org_id, []).append(head)
        walk = _Walk(keys, expected, await _dropped_before(session, keys))
        async for row in session.stream(QUERIES["chain"], only_org):
            walk.step(row)
        walk.end()
        for row in await session.fetch(QUERIES["unlinked"], only_org, NO_ORG, AUDIT_FINDINGS_MAX):
            walk.find(row["chain_org"], Fault.UNLINKED, audit_id=row["audit_id"])
    return Report(
        records=walk.records,
        expired=walk.expired,
        dropped_before=walk.dropped_before,
        chains=len(walk.heads),
        intact=not walk.findings,
        findings=walk.findings,
        heads=list(walk.heads.values()),
    )


# tidy: org-scope — the trail's own records, in a session of the platform's scope
async def _dropped_before(session: ReadSession, keys: ChainKeys) -> datetime | None:
    """What retention says in the trail itself to have dropped, as far as its records are linked or wait for it."""
    said = [
        row["dropped_before"]
        for row in await session.fetch(QUERIES["expirations"], EXPIRE, NO_ORG)
        if row["dropped_before"] <= row["decided_at"] - RETENTION_MIN and _is_genuine(row, keys)
    ]
    return max(said, default=None)


def _is_genuine(row: Any, keys: ChainKeys) -> bool:
    if row["hash"] is None:
        return bool(row["is_pending"])
    if not keys.knows(row["key_id"]):
        return False
    previous = START if row["previous"] is None else bytes(row["previous"])
    return keys.link_hash(row["key_id"], previous, canonical(row)) == bytes(row["hash"])
