"""Access decisions of a request whose organisations are in its body."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any
from uuid import UUID

from analytics_core.access import AnyDecision, Decision, RoleDecision, decide

Record = Callable[[AnyDecision], "asyncio.Future[None]"]


class OrgDecisions:
    """Decides on each organisation once. Awaiting it returns when every decision is in the audit log.

    There is one record for each organisation that was decided on; a request that got to none has one of its own.
    """

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

    def __await__(self) -> Generator[Any, None, None]:
        """Raises what kept a record out of the log."""
        if not self._records:
            self._records.append(self._record(self._admitted))
        yield from asyncio.gather(*self._records).__await__()
