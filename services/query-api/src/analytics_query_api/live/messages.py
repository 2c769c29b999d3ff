"""What a listener is sent: the same over Server-Sent Events and over a WebSocket."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from analytics_core.http.money import JSON
from analytics_core.query.question import Question
from analytics_core.units import cents_from_microcents


class EndReason(StrEnum):
    """expired: the token has run out, come back with a new one. stopping: this replica goes, come back at once."""

    EXPIRED = "expired"
    STOPPING = "stopping"


class LivePoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A bucket as it is now, or a model in one. It replaces what was sent of it before; nothing is to be added up."""

    bucket_start: datetime
    model_id: Annotated[str | msgspec.UnsetType, Meta(description="Only with groupBy=model.")] = msgspec.UNSET
    invocations: int
    success_count: int
    error_count: int
    timeout_count: int
    throttled_count: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_estimate_cents: Decimal
    revision: int


class UsageChanged(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The points that have changed since the message before."""

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


def encoded_point(row: Any, question: Question) -> bytes:
    """A row of the series as the bytes of a `LivePoint`: equal for equal rows."""
    values = dict(row)
    values["bucket_start"] = values["bucket_start"].astimezone(question.zone)
    values["cost_estimate_cents"] = cents_from_microcents(values.pop("cost_microcents"))
    failed = values["error_count"] + values["timeout_count"] + values["throttled_count"]
    return JSON.encode(LivePoint(**values, success_count=values["invocations"] - failed))


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
