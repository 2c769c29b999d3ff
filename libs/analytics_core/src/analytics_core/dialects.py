"""Other spellings of the usage event, translated into the contract's. Pure; golden files in contracts/events/dialects.

(a) the contract itself, camelCase; (b) its fields in snake_case; (c) the UsageRecord of a platform's router; (d) a
CloudEvent 1.0 that carries one of them. Which one it is, is decided for each event, by the required fields that it has.
The contract's own decoder judges what comes out, so that an event is the same event in whichever dialect it came.
"""

import re
from base64 import b64decode
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal, DecimalException
from typing import NamedTuple

import msgspec
from msgspec import Raw

from analytics_core.events import (
    EVENT_FIELDS,
    REQUIRED_FIELDS,
    EventRejected,
    Reason,
    UsageEvent,
    decode_event,
)

Fields = dict[str, Raw]
_FIELDS = msgspec.json.Decoder(Fields)
_DECIMAL = msgspec.json.Decoder(Decimal)
_TEXT = msgspec.json.Decoder(str)
_NULL = b"null"
# What a body may be wrong with while it is a right event of another dialect: everything that is about fields.
_ABOUT_THE_WHOLE = {Reason.TOO_LARGE, Reason.NOT_UTF8, Reason.NOT_JSON, Reason.NOT_AN_OBJECT}

# A router computes dollars in binary floating point and sends 0.006019999999999999 for 0.00602. 15 significant digits
# are what such a number holds for certain; an exact amount within the contract's limit never has more than 13.
_FLOAT64 = Context(prec=15)
_WITHIN_LIMIT = b'"WITHIN_LIMIT"'


class Dialect(NamedTuple):
    """How one kind of producer spells the event: contract field → its own; `finish` does what renaming cannot."""

    name: str
    spelling: Mapping[str, str]
    required: frozenset[str]
    finish: "Callable[[Fields, Fields], None]"


@dataclass(frozen=True, slots=True)
class Translation:
    """A body's fields in the contract's spelling, and what the producer calls them."""

    dialect: str
    fields: Fields
    spelling: Mapping[str, str]
    missing: tuple[str, ...]
    has_unknown_fields: bool

    @property
    def body(self) -> bytes:
        """The event as the contract spells it; numbers are as they were sent, digit by digit."""
        return msgspec.json.encode(self.fields)

    def spelled(self, field: str) -> str:
        """The producer's name of a contract field."""
        return self.spelling.get(field, field)

    def claimed(self, field: str) -> str | None:
        """The text in a field, whatever else is wrong with the event; None when it is no text."""
        try:
            return _TEXT.decode(self.fields.get(field, _NULL))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def decode_dialect(body: bytes, refusal: EventRejected, now: datetime, retention: timedelta) -> UsageEvent:
    """The event in a body that the contract's decoder has refused, if it is one in another dialect.

    Raises `EventRejected` and nothing else: `field` is the producer's name of it, inside a CloudEvent with the way to
    it. Where fields are missing, the detail names the nearest dialect and all that it misses.
    """
    if body.startswith(BOM_UTF8):
        body = body.removeprefix(BOM_UTF8)
        try:
            return decode_event(body, now, retention)
        except EventRejected as error:
            refusal = error
    if refusal.reason in _ABOUT_THE_WHOLE:
        raise refusal
    translation = translate(body)
    if translation.dialect == CONTRACT.name and refusal.reason is not Reason.MISSING_FIELD:
        raise refusal
    if translation.missing:
        first, *others = translation.missing
        also = f"; also missing: {', '.join(others)}" if others else ""
        raise EventRejected(
            Reason.MISSING_FIELD, first, f"required, but missing; nearest dialect: {translation.dialect}{also}"
        )
    try:
        event = decode_event(translation.body, now, retention)
    except EventRejected as error:
        field = None if error.field is None else translation.spelled(error.field)
        raise EventRejected(error.reason, field, error.detail) from None
    return msgspec.structs.replace(event, has_unknown_fields=True) if translation.has_unknown_fields else event


def translate(body: bytes) -> Translation:
    """The event in the contract's spelling, right or wrong. Raises `EventRejected` when that cannot be told."""
    fields = _fields(body.removeprefix(BOM_UTF8))
    if "specversion" in fields:
        return _from_cloud_event(fields)
    return _from_fields(fields)


def is_cloud_event(body: bytes) -> bool:
    """Whether the body is an object that says so."""
    try:
        return "specversion" in _fields(body)
    except EventRejected:
        return False


def _fields(body: bytes) -> Fields:
    try:
        return _FIELDS.decode(body)
    except msgspec.ValidationError as error:
        raise EventRejected(Reason.NOT_AN_OBJECT, None, str(error)) from None
    except UnicodeDecodeError:
        raise EventRejected(Reason.NOT_UTF8, None, "not valid UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise EventRejected(Reason.NOT_JSON, None, str(error)) from None


def _from_fields(fields: Fields) -> Translation:
    dialect = max(_DIALECTS, key=lambda candidate: len(candidate.required & fields.keys()))
    own = {name: fields[spelled] for name, spelled in dialect.spelling.items() if spelled in fields}
    rest = {name: value for name, value in fields.items() if name not in dialect.spelling.values()}
    missing = tuple(name for name in dialect.spelling.values() if name in dialect.required and name not in fields)
    dialect.finish(own, rest)
    return Translation(dialect.name, own, dialect.spelling, missing, has_unknown_fields=bool(rest))


def _from_cloud_event(envelope: Fields) -> Translation:
    """`id` and `time` stand in for an event's own id and time where it has none."""
    if bytes(envelope["specversion"]) != b'"1.0"':
        raise EventRejected(Reason.INVALID_VALUE, "specversion", 'expected "1.0"')
    inner = _from_fields(_cloud_data(envelope))
    spelling = {name: f"data.{spelled}" for name, spelled in inner.spelling.items()}
    missing = {f"data.{name}" for name in inner.missing}
    for name, attribute in (("eventId", "id"), ("occurredAt", "time")):
        if name not in inner.fields and attribute in envelope:
            inner.fields[name] = envelope[attribute]
            missing.discard(spelling[name])
            spelling[name] = attribute
    in_order = tuple(sorted(missing, key=list(spelling.values()).index))
    name = f"CloudEvent of {inner.dialect}"
    return Translation(name, inner.fields, spelling, in_order, has_unknown_fields=inner.has_unknown_fields)


def _cloud_data(envelope: Fields) -> Fields:
    name = "data" if "data" in envelope else "data_base64"
    if name not in envelope:
        raise EventRejected(Reason.MISSING_FIELD, "data", "required, but missing: a CloudEvent carries the event in it")
    data = _from_base64(envelope[name]) if name == "data_base64" else bytes(envelope[name])
    try:
        return _fields(data)
    except EventRejected as error:
        raise EventRejected(Reason.INVALID_TYPE, name, f"expected an event, a JSON object: {error.detail}") from None


def _from_base64(value: Raw) -> bytes:
    try:
        return b64decode(_TEXT.decode(value), validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        raise EventRejected(Reason.INVALID_VALUE, "data_base64", "expected base64") from None


def _no_more(_own: Fields, _rest: Fields) -> None:
    pass


def _finish_usage_record(own: Fields, rest: Fields) -> None:
    """Dollars become cents, the limit state a status, and whatever has no place in the event a label in `metadata`."""
    if "costEstimateCents" in own:
        own["costEstimateCents"] = _cents_from_dollars(own["costEstimateCents"])
    if bytes(own.get("status", _NULL)) in {_NULL, _WITHIN_LIMIT}:
        own["status"], own["errorCode"] = Raw(b'"success"'), Raw(_NULL)
    else:
        own["status"] = Raw(b'"throttled"')
    labels = {name: _label(value) for name, value in rest.items() if bytes(value) != _NULL}
    rest.clear()
    given = own.get("metadata", Raw(_NULL))
    if labels and (bytes(given) == _NULL or bytes(given).startswith(b"{")):
        own["metadata"] = Raw(msgspec.json.encode(({} if bytes(given) == _NULL else _fields(bytes(given))) | labels))


def _cents_from_dollars(dollars: Raw) -> Raw:
    """Exactly; what is no amount is left as it is, for the contract's decoder to refuse."""
    try:
        amount = _DECIMAL.decode(dollars)
        if len(amount.as_tuple().digits) > _FLOAT64.prec:
            amount = _FLOAT64.plus(amount)
        # A string in E notation if it is long: an exponent of a billion must not become a billion digits.
        return Raw(msgspec.json.encode(str(amount.scaleb(2))))
    except (msgspec.DecodeError, DecimalException, UnicodeDecodeError):
        return dollars


def _label(value: Raw) -> Raw:
    """A string as it is, anything else as its JSON text."""
    text = bytes(value)
    try:
        return value if text.startswith(b'"') else Raw(msgspec.json.encode(text.decode()))
    except UnicodeDecodeError:
        raise EventRejected(Reason.NOT_UTF8, None, "not valid UTF-8") from None


def _snake(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).lower()


CONTRACT = Dialect("the contract", {name: name for name in EVENT_FIELDS}, REQUIRED_FIELDS, _no_more)
SNAKE_CASE = Dialect(
    "snake_case", {name: _snake(name) for name in EVENT_FIELDS}, frozenset(map(_snake, REQUIRED_FIELDS)), _no_more
)
USAGE_RECORD = Dialect(
    "UsageRecord",
    {
        "eventId": "record_id",
        "orgId": "organization_id",
        "modelId": "model",
        "occurredAt": "timestamp",
        "status": "limit_state",
        "errorCode": "limit_state",
        "latencyMs": "latency_ms",
        "inputTokens": "tokens_input",
        "outputTokens": "tokens_output",
        "costEstimateCents": "cost_usd",
        "clientId": "api_key_id",
        "metadata": "metadata",
    },
    frozenset(
        {
            "record_id", "organization_id", "model", "timestamp", "latency_ms", "tokens_input", "tokens_output",
            "cost_usd",
        }
    ),
    _finish_usage_record,
)  # fmt: skip
# Of two that are equally near the first one is meant.
_DIALECTS = (CONTRACT, SNAKE_CASE, USAGE_RECORD)
