"""The usage event as a producer builds it: checked when it is made, money exact, one event id for all retries."""

from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec

from analytics_client.errors import InvalidEvent

EVENT_BYTES_MAX = 65_536
METADATA_BYTES_MAX = 8_192
METADATA_KEYS_MAX = 50
COUNT_MAX = 2**31 - 1
COST_CENTS_MAX = 1_000_000

Status = Literal["success", "error", "timeout", "throttled"]
_STATUSES = ("success", "error", "timeout", "throttled")
_TEXT_MAX = {"model_id": 200, "actor_id": 200, "client_id": 200, "error_code": 100}
_COUNTS = ("latency_ms", "input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
_OPTIONAL = {"actor_id", "client_id", "error_code", "cached_input_tokens", "reasoning_tokens"}
_MICROCENT = Decimal("0.000001")
# Raises in place of rounding: an amount that does not fit is refused, never changed.
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation])


def _now() -> datetime:
    # tidy: wall-clock — a producer without our core library; callers who hold the clock give `occurred_at`
    return datetime.now(UTC)


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One LLM call. Raises `InvalidEvent` when a field breaks the contract.

    `cost_estimate_cents` is a Decimal or its decimal text with at most 6 decimals; a float is refused, because it is
    already rounded. `occurred_at` is when the call ended, by default now. `input_tokens` includes the cached ones,
    `output_tokens` the reasoning ones.
    """

    org_id: UUID | str
    model_id: str
    status: Status
    latency_ms: int
    input_tokens: int
    output_tokens: int
    cost_estimate_cents: Decimal | str
    event_id: UUID | str = msgspec.field(default_factory=uuid4)
    occurred_at: datetime = msgspec.field(default_factory=_now)
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    actor_id: str | None = None
    client_id: str | None = None
    error_code: str | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for name in ("org_id", "event_id"):
            msgspec.structs.force_setattr(self, name, _uuid(name, getattr(self, name)))
        msgspec.structs.force_setattr(self, "cost_estimate_cents", _cents(self.cost_estimate_cents))
        for name, length_max in _TEXT_MAX.items():
            _check_text(name, getattr(self, name), length_max)
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        _check_metadata(self.metadata)
        self._check_together()

    def _check_together(self) -> None:
        if not isinstance(self.occurred_at, datetime) or self.occurred_at.utcoffset() is None:
            raise InvalidEvent("occurred_at: expected a datetime with a time zone")
        if self.status not in _STATUSES:
            raise InvalidEvent(f"status: expected one of {', '.join(_STATUSES)}, got {self.status!r}")
        if self.error_code is not None and self.status == "success":
            raise InvalidEvent("error_code: given, though status is success")
        if (self.cached_input_tokens or 0) > self.input_tokens:
            raise InvalidEvent("cached_input_tokens: more than input_tokens, which includes them")
        if (self.reasoning_tokens or 0) > self.output_tokens:
            raise InvalidEvent("reasoning_tokens: more than output_tokens, which includes them")


_ENCODER = msgspec.json.Encoder()


def encode_event(event: UsageEvent | bytes) -> bytes:
    """The event's bytes, as they go on the stream. Bytes are taken as an event that is encoded already.

    Raises `InvalidEvent` for more than 65,536 bytes.
    """
    body = event if isinstance(event, bytes) else _ENCODER.encode(event)
    if len(body) > EVENT_BYTES_MAX:
        raise InvalidEvent(f"the event has {len(body)} bytes, the limit is {EVENT_BYTES_MAX}")
    return body


def _uuid(name: str, value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise InvalidEvent(f"{name}: expected a UUID, got {value!r}") from None


def _cents(value: object) -> Decimal:
    if isinstance(value, float):
        raise InvalidEvent("cost_estimate_cents: a float is already rounded; give a Decimal or a string")
    if not isinstance(value, (Decimal, str, int)) or isinstance(value, bool):
        raise InvalidEvent(f"cost_estimate_cents: expected a Decimal or a string, got {value!r}")
    try:
        # Six places also keep str() away from exponents, which the contract refuses.
        cents = Decimal(value).quantize(_MICROCENT, context=_EXACT)
    except ArithmeticError:
        raise InvalidEvent(f"cost_estimate_cents: expected at most 6 decimals, got {value!r}") from None
    if not cents.is_finite() or not 0 <= cents <= COST_CENTS_MAX:
        raise InvalidEvent(f"cost_estimate_cents: expected 0 to {COST_CENTS_MAX}, got {value!r}")
    return abs(cents)


def _check_text(name: str, value: Any, length_max: int) -> None:
    if value is None and name in _OPTIONAL:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= length_max or not _is_storable(value):
        raise InvalidEvent(f"{name}: expected 1 to {length_max} characters, none of them NUL, got {value!r:.100}")


def _check_count(name: str, value: Any) -> None:
    if value is None and name in _OPTIONAL:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        raise InvalidEvent(f"{name}: expected an integer from 0 to {COUNT_MAX}, got {value!r}")


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or len(metadata) > METADATA_KEYS_MAX:
        raise InvalidEvent(f"metadata: expected a dict of at most {METADATA_KEYS_MAX} strings by name")
    for key, value in metadata.items():
        _check_text("metadata key", key, 100)
        if not isinstance(value, str) or not _is_storable(value):
            raise InvalidEvent(f"metadata: the value of {key!r} is no string that can be stored")
    if len(_ENCODER.encode(metadata)) > METADATA_BYTES_MAX:
        raise InvalidEvent(f"metadata: more than {METADATA_BYTES_MAX} bytes")


def _is_storable(text: str) -> bool:
    """PostgreSQL's text has no NUL, UTF-8 no lone surrogates."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
