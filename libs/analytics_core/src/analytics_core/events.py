"""The usage event: bytes in, a validated event out, or the reason why not.

Contract: `contracts/events/usage_event.v1.schema.json`; its examples drive this decoder in the tests.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from analytics_core.histogram import LATENCY_MS_MAX
from analytics_core.units import format_duration, microcents_from_cents

EVENT_BYTES_MAX = 65_536
METADATA_BYTES_MAX = 8_192
FUTURE_MAX = timedelta(hours=1)
INT_MAX = LATENCY_MS_MAX
# Sums of micro-cents are bigint: 9.2e18 / 1e12 leaves room for nine million calls of this price in one bucket.
COST_CENTS_MAX = 1_000_000

Status = Literal["success", "error", "timeout", "throttled"]


class Reason(StrEnum):
    """Why a message is no usage event; part of the contract of dead letters."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    INVALID_TYPE = "invalid_type"
    INVALID_VALUE = "invalid_value"
    INVALID_TIME = "invalid_time"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"
    OUT_OF_RANGE = "out_of_range"
    PARTS_EXCEED_WHOLE = "parts_exceed_whole"


class EventRejected(Exception):
    """The message breaks the contract; `field` is its camelCase path, None when it concerns the whole message."""

    def __init__(self, reason: Reason, field: str | None, detail: str) -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.reason = reason
        self.field = field
        self.detail = detail


class UsageEvent(msgspec.Struct, frozen=True, gc=False):
    """One LLM call as it is stored: time in UTC, money in micro-cents, absent token parts as 0."""

    org_id: UUID
    event_id: UUID
    occurred_at: datetime
    cost_microcents: int
    latency_ms: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    status: Status
    model_id: str
    actor_id: str | None
    client_id: str | None
    error_code: str | None
    metadata: dict[str, str] | None
    has_unknown_fields: bool


_Count = Annotated[int, Meta(ge=0, le=INT_MAX)]
_Identifier = Annotated[str, Meta(min_length=1, max_length=200)]
EventMetadata = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=100)], str], Meta(max_length=50)]


class WireEvent(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """The event as producers send it."""

    event_id: UUID
    org_id: UUID
    model_id: _Identifier
    occurred_at: Annotated[datetime, Meta(tz=True)]
    status: Status
    latency_ms: _Count
    input_tokens: _Count
    output_tokens: _Count
    cost_estimate_cents: Decimal
    cached_input_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    actor_id: _Identifier | None = None
    client_id: _Identifier | None = None
    error_code: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    metadata: EventMetadata | None = None


EVENT_FIELDS: tuple[str, ...] = WireEvent.__struct_encode_fields__
"""The contract's fields as producers spell them."""
REQUIRED_FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(WireEvent) if field.required)


class _StrictWireEvent(WireEvent, forbid_unknown_fields=True):
    pass


_STRICT = msgspec.json.Decoder(_StrictWireEvent)
_LENIENT = msgspec.json.Decoder(WireEvent)
_LAST_VALUES = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Deterministic order makes equal metadata equal bytes, however the producer ordered its keys.
_CANONICAL = msgspec.json.Encoder(order="deterministic")


def decode_event(body: bytes, now: datetime, retention: timedelta) -> UsageEvent:
    """Decode and validate one message. Pure: `now` and the raw `retention` bound the time that is accepted.

    Raises `EventRejected` and nothing else, whatever the bytes. Unknown fields are ignored and flagged. Of a repeated
    field the last value counts, as in the other dialects and nearly every JSON library.
    """
    if len(body) > EVENT_BYTES_MAX:
        raise EventRejected(Reason.TOO_LARGE, None, f"{len(body)} bytes, the limit is {EVENT_BYTES_MAX}")
    wire, has_unknown_fields = _parse(body)
    _check_strings(wire, body)
    _check_parts(wire)
    return _normalise(wire, now, retention, has_unknown_fields=has_unknown_fields)


def _parse(body: bytes) -> tuple[WireEvent, bool]:
    try:
        try:
            return _parse_once(body)
        except (msgspec.ValidationError, UnicodeDecodeError) as error:
            # What is wrong may be a value that does not count. Repeating fields makes none that is missing.
            if _MISSING.search(str(error)):
                raise
            return _parse_once(msgspec.json.encode(_LAST_VALUES.decode(body)))
    except msgspec.ValidationError as error:
        raise _rejection(str(error)) from None
    except UnicodeDecodeError:
        raise EventRejected(Reason.NOT_UTF8, None, "not valid UTF-8") from None
    except msgspec.DecodeError as error:
        raise EventRejected(Reason.NOT_JSON, None, str(error)) from None
    except RecursionError:
        raise EventRejected(Reason.NOT_JSON, None, "nested too deeply") from None


def _parse_once(body: bytes) -> tuple[WireEvent, bool]:
    try:
        return _STRICT.decode(body), False
    except msgspec.ValidationError as error:
        if not str(error).startswith("Object contains unknown field"):
            raise
        return _LENIENT.decode(body), True


_AT = re.compile(r"^(?P<problem>.*?)(?: - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def _rejection(message: str) -> EventRejected:
    """msgspec says what is wrong in words; the contract has codes. Checked phrase by phrase by the examples."""
    missing = _MISSING.search(message)
    if missing:
        return EventRejected(Reason.MISSING_FIELD, missing["field"], "required, but missing")
    match = _AT.match(message)
    problem, path = (match["problem"], match["path"]) if match else (message, None)
    field = path.removesuffix("[...]") if path else None
    if field is None:
        return EventRejected(Reason.NOT_AN_OBJECT, None, problem)
    if "RFC3339" in problem or "timezone component" in problem:
        return EventRejected(Reason.INVALID_TIME, field, "expected an RFC 3339 time with an offset")
    if problem.startswith("Expected `int` "):
        return EventRejected(Reason.OUT_OF_RANGE, field, problem)
    if ", got `" in problem:
        return EventRejected(Reason.INVALID_TYPE, field, problem)
    return EventRejected(Reason.INVALID_VALUE, field, problem)


def _check_strings(wire: WireEvent, body: bytes) -> None:
    """PostgreSQL stores neither NUL nor huge metadata; both are rare, so the bytes are searched before the fields."""
    if b"\\u0000" in body:
        for name, value in msgspec.structs.asdict(wire).items():
            texts = [value] if isinstance(value, str) else [*value, *value.values()] if isinstance(value, dict) else []
            if any("\0" in text for text in texts):
                raise EventRejected(Reason.INVALID_VALUE, _camel(name), "contains a NUL character")
    if wire.metadata and len(body) > METADATA_BYTES_MAX and len(_CANONICAL.encode(wire.metadata)) > METADATA_BYTES_MAX:
        raise EventRejected(Reason.TOO_LARGE, "metadata", f"more than {METADATA_BYTES_MAX} bytes")
    if wire.error_code is not None and wire.status == "success":
        raise EventRejected(Reason.INVALID_VALUE, "errorCode", "given, though status is success")


def _check_parts(wire: WireEvent) -> None:
    if (wire.cached_input_tokens or 0) > wire.input_tokens:
        raise EventRejected(
            Reason.PARTS_EXCEED_WHOLE, "cachedInputTokens", "more than inputTokens, which includes them"
        )
    if (wire.reasoning_tokens or 0) > wire.output_tokens:
        raise EventRejected(Reason.PARTS_EXCEED_WHOLE, "reasoningTokens", "more than outputTokens, which includes them")


def _normalise(wire: WireEvent, now: datetime, retention: timedelta, *, has_unknown_fields: bool) -> UsageEvent:
    return UsageEvent(
        org_id=wire.org_id,
        event_id=wire.event_id,
        occurred_at=_accepted_time(wire.occurred_at, now, retention),
        cost_microcents=_accepted_cost(wire.cost_estimate_cents),
        latency_ms=wire.latency_ms,
        input_tokens=wire.input_tokens,
        output_tokens=wire.output_tokens,
        cached_input_tokens=wire.cached_input_tokens or 0,
        reasoning_tokens=wire.reasoning_tokens or 0,
        status=wire.status,
        model_id=wire.model_id,
        actor_id=wire.actor_id,
        client_id=wire.client_id,
        error_code=wire.error_code,
        metadata=wire.metadata or None,
        has_unknown_fields=has_unknown_fields,
    )


def _accepted_time(occurred_at: datetime, now: datetime, retention: timedelta) -> datetime:
    try:
        occurred_at = occurred_at.astimezone(UTC)
    except OverflowError:
        raise EventRejected(Reason.INVALID_TIME, "occurredAt", "outside the years 1 to 9999 in UTC") from None
    if occurred_at > now + FUTURE_MAX:
        raise EventRejected(
            Reason.IN_FUTURE, "occurredAt", f"more than {format_duration(FUTURE_MAX)} after the time of receipt"
        )
    if occurred_at < now - retention:
        raise EventRejected(Reason.TOO_OLD, "occurredAt", f"before the retention of {retention.days} days")
    return occurred_at


def _accepted_cost(cents: Decimal) -> int:
    field = "costEstimateCents"
    if not cents.is_finite():
        raise EventRejected(Reason.INVALID_VALUE, field, "expected a finite amount")
    if not 0 <= cents <= COST_CENTS_MAX:
        raise EventRejected(Reason.OUT_OF_RANGE, field, f"expected 0 to {COST_CENTS_MAX} cents")
    try:
        return microcents_from_cents(cents)
    except ValueError as error:
        raise EventRejected(Reason.INVALID_VALUE, field, str(error)) from None


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)
