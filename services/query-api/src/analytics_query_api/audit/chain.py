"""Links audit records into their organisation's chain, behind the answers, within about a second."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from analytics_core.access import scope_for_own_work
from analytics_core.database import CONTENDED, REFUSED, UNREACHABLE, WriteDatabase, WriteSession
from analytics_core.lifecycle import Backoff, sleep_unless_stopped
from analytics_core.sql import load_queries
from analytics_query_api.audit.hashing import NO_ORG, START, ChainKeys, canonical
from analytics_query_api.limits import AUDIT_LINK_PAUSE_SECONDS, AUDIT_LINKS_MAX
from analytics_query_api.metrics import AUDIT_LINKS, AUDIT_UNLINKED, AUDIT_UNLINKED_AGE

QUERIES = load_queries("analytics_query_api", "audit_chain")

log = structlog.get_logger()


class Chainer:
    """Makes links, one process of all replicas at a time. Records are durable before; no request waits for a link."""

    def __init__(self, database: WriteDatabase, keys: ChainKeys) -> None:
        self._database = database
        self._keys = keys
        self._scope = scope_for_own_work()

    async def run(self, stop: asyncio.Event) -> None:
        """Link until stopped. While the database is away records wait in it, not here."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                linked = await self.link()
            except (*UNREACHABLE, *CONTENDED, *REFUSED) as error:
                log.warning("audit_link_failed", error=f"{type(error).__name__}: {error}", retrying=True)
                pause_seconds = backoff.next_seconds()
                await sleep_unless_stopped(stop, pause_seconds)
                # What waits has become older meanwhile, whether it can be asked for or not.
                AUDIT_UNLINKED_AGE.inc(pause_seconds)
                continue
            backoff.reset()
            if linked < AUDIT_LINKS_MAX:
                await sleep_unless_stopped(stop, AUDIT_LINK_PAUSE_SECONDS)

    async def link(self) -> int:
        """Link what waits, at most `AUDIT_LINKS_MAX` records; how many it were. 0 while another process does it."""
        async with self._database.write(self._scope) as session:
            if not await session.fetch_value(QUERIES["lock_chain"]):
                return 0
            pending = await session.fetch(QUERIES["pending_records"], AUDIT_LINKS_MAX)
            if pending:
                await self._append(session, pending)
            state = await session.fetch_row(QUERIES["unlinked_state"])
        AUDIT_LINKS.inc(len(pending))
        if state:
            AUDIT_UNLINKED.set(state["records"])
            AUDIT_UNLINKED_AGE.set(state["oldest_seconds"])
        return len(pending)

    # tidy: org-scope — links everybody's records, in a session of its own scope
    async def _append(self, session: WriteSession, pending: Sequence[Any]) -> None:
        """A record that is pending but gone was deleted before it was linked: an error for the log, not for a link."""
        ids, times = [row["audit_id"] for row in pending], [row["decided_at"] for row in pending]
        records = await session.fetch(QUERIES["records"], min(times), max(times), ids)
        if len(records) < len(ids):
            log.error("audit_records_vanished", records=len(ids) - len(records))
        orgs = list({row["org_id"] or NO_ORG for row in records})
        rows = await session.fetch(QUERIES["heads_of"], orgs)
        heads: dict[Any, tuple[int, bytes]] = {row["org_id"]: (row["seq"], row["hash"]) for row in rows}
        links = []
        for record in records:
            org_id = record["org_id"] or NO_ORG
            seq, previous = heads.get(org_id, (0, START))
            digest = self._keys.link_hash(self._keys.current, previous, canonical(record))
            heads[org_id] = (seq + 1, digest)
            links.append((org_id, seq + 1, record["audit_id"], record["decided_at"], self._keys.current, digest))
        if links:
            await session.execute(QUERIES["append_links"], *map(list, zip(*links, strict=True)))
            moved = [(org_id, *heads[org_id]) for org_id in orgs]
            await session.execute(QUERIES["move_heads"], *map(list, zip(*moved, strict=True)))
        await session.execute(QUERIES["forget_pending"], ids)
