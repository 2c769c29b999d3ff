"""The body of an HTTP request as the bytes of single events: one object, an array, or lines; gzip or plain. Pure."""

import re
import zlib
from codecs import BOM_UTF8
from itertools import islice

import msgspec

from analytics_core.errors import InvalidRequest, TooLarge, UnsupportedMediaType
from analytics_ingest.limits import HTTP_BODY_BYTES_MAX, HTTP_EVENTS_MAX, HTTP_GZIP_MEMBERS_MAX

JSON = "application/json"
LINES = "application/x-ndjson"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"
MEDIA_TYPES = {
    JSON: JSON,
    CLOUD_EVENT: JSON,
    CLOUD_EVENTS: JSON,
    LINES: LINES,
    "application/ndjson": LINES,
    "application/jsonl": LINES,
}
ENCODINGS = {"", "identity", "gzip", "x-gzip"}

# A list would be filled before its length is checked: 5 MB of `0,0,0,…` are 2.5 million elements. An array with so many
# places ends at the first one too many. Raw keeps each element's bytes as they were sent, numbers unrounded.
_ARRAY = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Array",
        [(f"element_{number}", msgspec.Raw, msgspec.field(default=msgspec.Raw())) for number in range(HTTP_EVENTS_MAX)],
        array_like=True,
        forbid_unknown_fields=True,
        gc=False,
    )
)
_LINE = re.compile(rb"\S[^\n]*")


def media_type_of(content_type: str, charset: str | None) -> str:
    """`JSON` or `LINES`; a request that does not say is taken for JSON. Raises `UnsupportedMediaType`."""
    kind = MEDIA_TYPES.get(content_type.lower() or JSON)
    if kind is None:
        raise UnsupportedMediaType(f"Content-Type: expected {JSON}, {LINES}, {CLOUD_EVENT} or {CLOUD_EVENTS}")
    if charset is not None and charset.lower().strip('"') not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType("Content-Type: expected UTF-8")
    return kind


def is_compressed(encoding: str) -> bool:
    """Whether `Content-Encoding` means gzip. Raises `UnsupportedMediaType` for another one."""
    if encoding.strip().lower() not in ENCODINGS:
        raise UnsupportedMediaType("Content-Encoding: expected gzip, or none")
    return "gzip" in encoding.lower()


def inflate(body: bytes) -> bytes:
    """The content of a gzip body, with never more than the limit in memory.

    Raises `TooLarge` when there is more, `InvalidRequest` when it is no gzip, ends early or has too many members.
    """
    content = bytearray()
    members = 0
    while body:
        members += 1
        if members > HTTP_GZIP_MEMBERS_MAX:
            raise InvalidRequest(f"the gzip body has more than {HTTP_GZIP_MEMBERS_MAX} members: compress it as a whole")
        member = zlib.decompressobj(wbits=31)
        try:
            content += member.decompress(body, HTTP_BODY_BYTES_MAX + 1 - len(content))
        except zlib.error as error:
            raise InvalidRequest(f"the body is not valid gzip: {error}") from None
        if len(content) > HTTP_BODY_BYTES_MAX:
            raise _too_large("inflated, the body has more than")
        if not member.eof:
            raise InvalidRequest("the gzip body ends early")
        body = member.unused_data
    return bytes(content)


def split(body: bytes, media_type: str) -> list[bytes]:
    """The events of a body, 1 to 1,000, each as it was sent; what is wrong with one of them does not show here.

    Raises `TooLarge` for more, `InvalidRequest` when there is none or when the body cannot be taken apart.
    """
    body = body.removeprefix(BOM_UTF8)
    if not body.strip():
        raise InvalidRequest("the body is empty")
    events = _lines(body) if media_type == LINES else _elements(body)
    if not events:
        raise InvalidRequest("the body holds no event")
    return events


def _lines(body: bytes) -> list[bytes]:
    events = [match.group().rstrip() for match in islice(_LINE.finditer(body), HTTP_EVENTS_MAX + 1)]
    if len(events) > HTTP_EVENTS_MAX:
        raise _too_many()
    return events


def _elements(body: bytes) -> list[bytes]:
    try:
        if body.lstrip()[:1] == b"[":
            elements = msgspec.structs.astuple(_ARRAY.decode(body))
            return [bytes(element) for element in elements if memoryview(element)]
        event = bytes(msgspec.json.decode(body, type=msgspec.Raw))
    except msgspec.ValidationError:
        raise _too_many() from None
    except (msgspec.DecodeError, RecursionError) as error:
        hint = f"; for one event on each line send Content-Type: {LINES}" if "trailing characters" in str(error) else ""
        raise InvalidRequest(f"the body is not valid JSON: {error}{hint}") from None
    if not event.startswith(b"{"):
        raise InvalidRequest("expected one event, an array of events, or one event on each line")
    return [event]


def _too_many() -> TooLarge:
    return TooLarge(f"more than {HTTP_EVENTS_MAX} events; send them in several requests")


def _too_large(what: str) -> TooLarge:
    return TooLarge(f"{what} {HTTP_BODY_BYTES_MAX} bytes; send the events in several requests")
