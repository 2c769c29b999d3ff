"""Access decisions of a request whose organisations are in its body."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any
from uuid import UUID

from analytics_core.access import AnyDecision, Decision, RoleDecision, decide
from analytics_core.audit import RECORD_SECONDS_MAX
from analytics_core.errors import Unavailable
from analytics_core.http.problems import RETRY_AFTER_SECONDS

Record = Callable[[AnyDecision], "asyncio.Future[None]"]


class OrgDecisions:
    """Decides on each organisation once, with one record for each; a request that got to none has one of its own."""

    def __init__(self, admitted: RoleDecision, record: Record) -> None:
        self._admitted = admitted
        self._record = record
        self._decisions: dict[UUID, Decision] = {}
        self._records: list[asyncio.Future[None]] = []

    @property
    def subject(self) -> str:
        """Who is asking."""
        return self._admitted.principal.subject

    def decide(self, org_id: UUID) -> Decision:
        """Whether the caller may do in this organisation what the route is for; its record is being written then."""
        decision = self._decisions.get(org_id)
        if decision is None:
            decision = decide(self._admitted.principal, self._admitted.action, org_id)
            self._decisions[org_id] = decision
            self._records.append(self._record(decision))
        return decision

    async def recorded(self) -> None:
        """Return when every decision is in the audit log: before anything is done that only an allowed caller may do.

        Raises `Unavailable`.
        """
        try:
            async with asyncio.timeout(RECORD_SECONDS_MAX):
                await self
        except Exception:  # noqa: BLE001 — whatever kept a record out, nothing may be done without it
            raise Unavailable("the audit log cannot be written", retry_after_seconds=RETRY_AFTER_SECONDS) from None

    def __await__(self) -> Generator[Any, None, None]:
        """As `recorded`, without a limit of time; raises what kept a record out."""
        return self._settled().__await__()

    async def _settled(self) -> None:
        if not self._records:
            self._records.append(self._record(self._admitted))
        await asyncio.wait(self._records)
        for record in self._records:
            record.result()
