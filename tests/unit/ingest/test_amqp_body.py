"""The body of an AMQP message is found whatever stands around it; rstream's encoder is the oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rstream import AMQPMessage, Properties

from analytics_ingest.amqp import NotAmqp, data_of

# Without a body rstream sends no section at all.
BODIES = st.one_of(st.binary(min_size=1, max_size=600), st.binary(min_size=250, max_size=260))


@given(
    body=BODIES,
    application=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=300) | st.integers(0, 2**40)),
    annotations=st.none() | st.dictionaries(st.binary(min_size=1, max_size=5), st.binary(max_size=300), min_size=1),
    with_properties=st.booleans(),
)
def test_sections_around_the_data_are_skipped(
    body: bytes,
    application: dict[str, str | int] | None,
    annotations: dict[bytes, bytes] | None,
    with_properties: bool,
) -> None:
    """Producers add properties (a trace id, a routing key); the event is the data section alone."""
    message = AMQPMessage(
        body=body,
        application_properties=application,
        message_annotations=annotations,
        properties=Properties(message_id=b"m" * 300, correlation_id=b"c") if with_properties else None,
    )

    assert data_of(bytes(message)) == body


@pytest.mark.parametrize("size", [0, 255, 256, 70_000])
def test_short_and_long_data_sections(size: int) -> None:
    """Up to 255 bytes the length takes one byte (vbin8), beyond it four (vbin32)."""
    body = b"x" * size

    assert not body or data_of(bytes(AMQPMessage(body=body))) == body
    assert data_of(b"\x00\x53\x75\xb0" + size.to_bytes(4, "big") + body) == body
    assert data_of(b"\x00\x80" + (0x75).to_bytes(8, "big") + b"\xb0" + size.to_bytes(4, "big") + body) == body


def test_several_data_sections_are_joined() -> None:
    """AMQP allows a body in pieces."""
    header_and_footer = b"\x00\x53\x70\x45", b"\x00\x53\x78\xc1\x01\x00"
    message = (
        header_and_footer[0] + b"\x00\x53\x75\xa0\x02ab" + b"\x00\x53\x75\xb0\x00\x00\x00\x02cd" + header_and_footer[1]
    )

    assert data_of(message) == b"abcd"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"", "no data section"),
        (b'{"eventId": 1}', "expected a section at byte 0"),
        (b"\x00\x53\x77\xa1\x02hi", "no data section"),
        (b"\x00\x53\x75\xa1\x02hi", "data section of type 0xa1"),
        (b"\x00\x53\x75\xa0\x03hi", "cut off"),
        (b"\x00\x53\x75\xb0\x00\x00", "cut off"),
        (b"\x00\x53\x75", "cut off"),
        (b"\x00\x53\x13\x40", "unknown section 0x13"),
        (b"\x00\xa3\x01x\x40", "descriptor of type 0xa3"),
        (b"\x00\x53\x75\x31", "unknown type 0x31"),
        (b"\x00\x53\x75\xa0\x02hi\x01", "expected a section at byte 7"),
    ],
)
def test_what_is_no_message_with_data_says_why(message: bytes, problem: str) -> None:
    """The dead letter shows an operator what a producer did wrong."""
    with pytest.raises(NotAmqp, match=problem):
        data_of(message)


@given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda tail: b"\x00\x53" + tail))
def test_any_bytes_give_a_body_or_not_amqp(message: bytes) -> None:
    """Anybody who may publish can send anything; no other error may stop the partition."""
    try:
        body = data_of(message)
    except NotAmqp:
        return
    assert len(body) < len(message)
