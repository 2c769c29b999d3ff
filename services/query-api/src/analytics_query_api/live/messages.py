"""What a listener is sent: the same over Server-Sent Events and over a WebSocket."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from analytics_core.http.money import JSON
from analytics_core.query.question import Question


class EndReason(StrEnum):
    """expired: the token has run out, come back with a new one. stopping: this replica goes, come back at once.

    too-large: there are more points now than a stream may have, come back with a smaller question.
    """

    EXPIRED = "expired"
    STOPPING = "stopping"
    TOO_LARGE = "too-large"


class UsageChanged(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The points that have changed since the message before, as `GET …/usage` has them (`UsagePoint`)."""

    type: Literal["usage"] = "usage"
    id: Annotated[str, Meta(description="Come back with it as Last-Event-ID to go on from here.")]
    org_id: UUID
    granularity: str
    timezone: str
    reset: Annotated[bool, Meta(description="These are all points there are: forget what was sent before.")]
    points: list[msgspec.Raw]


class Ended(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The last message: why nothing more comes."""

    type: Literal["end"] = "end"
    reason: EndReason


class StreamedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as a Server-Sent Event."""

    event: Literal["usage", "end"]
    data: Annotated[str, Meta(description="The message as JSON; see contracts/messages/live.md.")]
    id: str | msgspec.UnsetType = msgspec.UNSET


def usage_changed(
    org_id: UUID, question: Question, version: str, points: Sequence[bytes], *, reset: bool
) -> UsageChanged:
    """The message of some points."""
    return UsageChanged(
        id=version,
        org_id=org_id,
        granularity=question.granularity,
        timezone=question.zone.key,
        reset=reset,
        points=[msgspec.Raw(point) for point in points],
    )


def as_event(message: UsageChanged | Ended) -> bytes:
    """The message as a Server-Sent Event. JSON has no line breaks, so it is one `data` line."""
    name = b"id: %s\n" % message.id.encode() if isinstance(message, UsageChanged) else b""
    return b"event: %s\n%sdata: %s\n\n" % (message.type.encode(), name, JSON.encode(message))
