"""Bodies taken apart into events."""

import gzip
import json
import tracemalloc

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_core.errors import ApiError, InvalidRequest, TooLarge, UnsupportedMediaType
from analytics_ingest.event_bodies import JSON, LINES, inflate, is_compressed, media_type_of, split
from analytics_ingest.limits import HTTP_BODY_BYTES_MAX, HTTP_EVENTS_MAX

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
_objects = st.dictionaries(st.text(), _values, max_size=4)


@given(st.lists(_objects, min_size=1, max_size=20), st.sampled_from([None, 0, 2]))
def test_an_array_is_its_elements(events: list[object], indent: int | None) -> None:
    """However it is spaced."""
    parts = split(json.dumps(events, indent=indent).encode(), JSON)

    assert [json.loads(part) for part in parts] == events


@given(st.lists(_objects, min_size=1, max_size=20), st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\n"]))
def test_lines_are_events_and_blank_lines_are_nothing(events: list[object], separator: str) -> None:
    """JSON escapes line breaks, so a line break always ends an event."""
    body = separator.join(map(json.dumps, events)).encode()

    for content in (body, body + b"\n", b"\n\r\n" + body):
        assert [json.loads(part) for part in split(content, LINES)] == events


@given(st.binary(max_size=200) | st.text().map(str.encode), st.sampled_from([JSON, LINES]))
@example(b"[" * 50_000, JSON)
@example(b'{"a":' * 50_000, JSON)
@example(b"[,]", JSON)
@example(b"[1,]", JSON)
def test_any_bytes_are_parts_or_a_refusal(body: bytes, media_type: str) -> None:
    """Never another error: that would be a 500."""
    try:
        parts = split(body, media_type)
    except ApiError:
        return
    assert all(parts)
    assert 1 <= len(parts) <= HTTP_EVENTS_MAX


@pytest.mark.parametrize("media_type", [JSON, LINES])
def test_a_thousand_events_and_no_more(media_type: str) -> None:
    """The limit itself is allowed."""

    def body(count: int) -> bytes:
        return b"[" + b",".join([b"{}"] * count) + b"]" if media_type == JSON else b"{}\n" * count

    assert len(split(body(1_000), media_type)) == 1_000
    with pytest.raises(TooLarge, match="more than 1000 events"):
        split(body(1_001), media_type)


def test_an_event_keeps_its_bytes() -> None:
    """1.10 must not become 1.1, nor 1e400 an error that hits its neighbours."""
    event = b'{ "costEstimateCents":1.10, "big":1e400 ,"\\u0061":"\\/" }'

    assert split(b" [ " + event + b" , {}\n] ", JSON) == [event, b"{}"]
    assert split(b" " + event + b"\n", JSON) == [event]


@pytest.mark.parametrize("media_type", [JSON, LINES])
def test_a_body_without_events_is_refused(media_type: str) -> None:
    """An empty success would hide a producer's mistake."""
    for body in (b"", b" \n\t ", *([b"[]"] if media_type == JSON else [])):
        with pytest.raises(InvalidRequest):
            split(body, media_type)


def test_gzip_is_inflated_also_in_several_members() -> None:
    """Some clients compress each chunk by itself."""
    assert inflate(gzip.compress(b"one ") + gzip.compress(b"two")) == b"one two"


@given(st.binary(max_size=300))
def test_any_bytes_are_inflated_or_refused(body: bytes) -> None:
    """Never another error."""
    try:
        inflate(body)
    except ApiError:
        return


@given(st.binary(min_size=1, max_size=300), st.integers(0, 30))
def test_a_shortened_gzip_is_refused(content: bytes, removed: int) -> None:
    """It ends in the middle of an event, or lacks the checksum that would say so."""
    packed = gzip.compress(content)
    shortened = packed[: len(packed) - 1 - removed]

    if shortened:
        with pytest.raises(InvalidRequest, match="gzip"):
            inflate(shortened)


@pytest.mark.parametrize("members", [1, 20])
def test_inflating_stops_at_the_limit(members: int) -> None:
    """The limit counts over all members, and what lies beyond it is never made."""
    assert len(inflate(gzip.compress(bytes(HTTP_BODY_BYTES_MAX)))) == HTTP_BODY_BYTES_MAX
    bomb = gzip.compress(bytes(60_000_000 // members)) * members
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            inflate(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * HTTP_BODY_BYTES_MAX


@pytest.mark.parametrize(
    ("content_type", "charset", "expected"),
    [
        ("", None, JSON),
        ("application/json", None, JSON),
        ("Application/JSON", "UTF-8", JSON),
        ("application/json", '"utf-8"', JSON),
        ("application/x-ndjson", None, LINES),
        ("application/jsonl", "us-ascii", LINES),
    ],
)
def test_media_types_are_understood_as_they_are_written(content_type: str, charset: str | None, expected: str) -> None:
    """Case and quotes do not matter (RFC 9110, 8.3.1)."""
    assert media_type_of(content_type, charset) == expected


def test_other_types_and_encodings_are_refused() -> None:
    """Reading them as something else would be a guess."""
    for content_type, charset in (("text/plain", None), ("application/json", "latin-1")):
        with pytest.raises(UnsupportedMediaType):
            media_type_of(content_type, charset)
    for encoding in ("br", "deflate", "gzip, br", "gzip,gzip"):
        with pytest.raises(UnsupportedMediaType):
            is_compressed(encoding)
    assert [is_compressed(encoding) for encoding in ("", "identity", "GZIP", " x-gzip ")] == [False, False, True, True]


def test_raw_elements_are_copied_out_of_the_body() -> None:
    """A receipt must not keep the whole request in memory."""
    [event] = split(msgspec.json.encode({"a": 1}), JSON)

    assert type(event) is bytes
