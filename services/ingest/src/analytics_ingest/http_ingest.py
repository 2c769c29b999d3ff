"""What POST /events does with the events that it was sent: check, decide, publish, say what became of each."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from analytics_core.clock import Clock
from analytics_core.errors import FieldError, Unavailable
from analytics_core.events import UsageEvent
from analytics_core.http.org_decisions import OrgDecisions
from analytics_ingest.decode import Rejection, decode
from analytics_ingest.event_fields import field_errors
from analytics_ingest.event_publisher import EventPublisher
from analytics_ingest.limits import CLOCKS_APART_MAX, DECODE_SLICE
from analytics_ingest.metrics import HTTP_EVENTS
from analytics_ingest.receipts import Receipt, Receipts, claimed_event_id

FOREIGN_ORG = "foreign_org"
# It does not tell whether there is such an organisation.
FOREIGN_ORG_DETAIL = "no organisation that you may write events of"


class HttpIngest:
    """Events from HTTP, judged by the same decoder as those of the stream."""

    def __init__(self, publisher: EventPublisher, now: Clock, retention: timedelta) -> None:
        self._publisher = publisher
        self._clock = now
        # Within what is accepted at both times that the broker may have: what is promised here is counted there.
        self._retention = retention - 2 * CLOCKS_APART_MAX

    async def accept(self, bodies: Sequence[bytes], decisions: OrgDecisions) -> Receipts:
        """Have the events counted that are right and the caller's to send; returns once the stream has confirmed them.

        Raises `Unavailable`: then no event is promised, and sending all of them again is safe.
        """
        receipts = [receipt async for receipt in self._judged(bodies, decisions)]
        accepted = [body for body, receipt in zip(bodies, receipts, strict=True) if receipt.status == "accepted"]
        # First the records: while they cannot be written, repeated requests must not fill the stream with duplicates.
        await decisions.recorded()
        try:
            await self._publisher.publish(accepted)
        except Unavailable:
            HTTP_EVENTS.labels("unconfirmed").inc(len(accepted))
            raise
        HTTP_EVENTS.labels("accepted").inc(len(accepted))
        HTTP_EVENTS.labels("rejected").inc(len(receipts) - len(accepted))
        return Receipts(receipts=receipts, accepted=len(accepted), rejected=len(receipts) - len(accepted))

    async def problems(self, bodies: Sequence[bytes], decisions: OrgDecisions) -> list[FieldError]:
        """Everything that is wrong with the events; empty when all of them would be accepted.

        Where there are several events, a field is named with its event's place: `[3].modelId`.
        """
        found = []
        async for index, body in _in_slices(bodies):
            place = "" if len(bodies) == 1 else f"[{index}]."
            found += [FieldError(place + error.field, error.detail) for error in self._event_problems(body, decisions)]
        await decisions.recorded()
        return found

    def _now(self) -> datetime:
        return self._clock() - CLOCKS_APART_MAX

    async def _judged(self, bodies: Sequence[bytes], decisions: OrgDecisions) -> AsyncIterator[Receipt]:
        now = self._now()
        async for index, body in _in_slices(bodies):
            event = decode(body, now, self._retention)
            yield _rejected(index, body, event) if isinstance(event, Rejection) else _decided(index, event, decisions)

    def _event_problems(self, body: bytes, decisions: OrgDecisions) -> list[FieldError]:
        now = self._now()
        event = decode(body, now, self._retention)
        if isinstance(event, Rejection):
            return field_errors(body, now, self._retention)
        allowed = decisions.decide(event.org_id).allowed
        return [] if allowed else [FieldError("orgId", FOREIGN_ORG_DETAIL)]


async def _in_slices(bodies: Sequence[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Numbered, with a turn of the event loop now and then: a thousand events take 10 ms."""
    for index, body in enumerate(bodies):
        if index and index % DECODE_SLICE == 0:
            await asyncio.sleep(0)
        yield index, body


def _rejected(index: int, body: bytes, rejection: Rejection) -> Receipt:
    return Receipt(
        index=index,
        status="rejected",
        event_id=claimed_event_id(body),
        reason=rejection.reason,
        field=rejection.field,
        detail=rejection.detail,
    )


def _decided(index: int, event: UsageEvent, decisions: OrgDecisions) -> Receipt:
    event_id = str(event.event_id)
    if decisions.decide(event.org_id).allowed:
        return Receipt(index=index, status="accepted", event_id=event_id)
    return Receipt(
        index=index,
        status="rejected",
        event_id=event_id,
        reason=FOREIGN_ORG,
        field="orgId",
        detail=FOREIGN_ORG_DETAIL,
    )
