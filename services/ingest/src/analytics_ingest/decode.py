"""A message's body as an event, or as the reason why it is none. Pure."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple
from uuid import UUID

from analytics_core.dialects import decode_dialect, translate
from analytics_core.events import EVENT_BYTES_MAX, EventRejected, UsageEvent, decode_event
from analytics_ingest.chunks import Unreadable
from analytics_ingest.limits import DEAD_LETTER_DETAIL_MAX


class StreamReason(StrEnum):
    """Why a message is a dead letter, beside the reasons of `analytics_core.events.Reason`."""

    NOT_AMQP = "not_amqp"
    NOT_STORABLE = "not_storable"


class Rejection(NamedTuple):
    """Why a message is no event: `reason` is a code, `field` the event's field, if it is about one."""

    reason: str
    field: str | None
    detail: str
    body: bytes


def decode(body: bytes | Unreadable, accepted_at: datetime, retention: timedelta) -> UsageEvent | Rejection:
    """The event in a message's body, or why it is none. Raises nothing.

    "Too old" and "in the future" are as of `accepted_at`, the broker's time: a replay decides as the first read did.
    """
    if isinstance(body, Unreadable):
        return rejection(StreamReason.NOT_AMQP, None, body.detail, body.raw)
    try:
        try:
            return decode_event(body, accepted_at, retention)
        except EventRejected as refusal:
            return decode_dialect(body, refusal, accepted_at, retention)
    except EventRejected as error:
        return rejection(error.reason, error.field, error.detail, body)


def rejection(reason: str, field: str | None, detail: str, body: bytes) -> Rejection:
    """A rejection whose texts PostgreSQL can store: they quote the message, which may hold anything."""
    return Rejection(reason, None if field is None else _storable(field), _storable(detail), body)


def claimed_text(body: bytes, field: Literal["orgId", "eventId"]) -> str | None:
    """What a rejected body gives as its own id, in whichever dialect; None where there is none to be read."""
    if len(body) > EVENT_BYTES_MAX:
        return None
    try:
        return translate(body).claimed(field)
    except EventRejected:
        return None


def claimed_org(body: bytes) -> UUID | None:
    """The organisation that a rejected body names, if it names one."""
    try:
        return UUID(claimed_text(body, "orgId"))
    except (TypeError, ValueError):
        return None


def _storable(text: str) -> str:
    printable = text[:DEAD_LETTER_DETAIL_MAX].replace("\0", "\N{SYMBOL FOR NULL}")
    return printable.encode("utf-8", "replace").decode()
