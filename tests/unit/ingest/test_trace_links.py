"""A batch's span links to the producers' spans, however few messages carry a trace context."""

from opentelemetry.trace import TraceFlags
from rstream import AMQPMessage

from analytics_client.encoding import data_section
from analytics_ingest.trace_links import LINKS_MAX, links_to, parents_in


def message(traceparent: str) -> bytes:
    return bytes(AMQPMessage(body=b"{}", application_properties={"tenant": "a", "traceparent": traceparent}))


def parent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def test_trace_contexts_are_found_among_other_properties() -> None:
    """As another client library writes them; the same context twice is one link."""
    data = b"".join([data_section(b'{"a": 1}'), message(parent(7)), message(parent(7)), message(parent(8))])

    first, second = links_to(parents_in(data, LINKS_MAX))

    assert (first.context.trace_id, first.context.span_id) == (7, 7)
    assert (first.context.is_remote, first.context.trace_flags) == (True, TraceFlags.SAMPLED)
    assert second.context.trace_id == 8


def test_links_are_few() -> None:
    """Ten thousand messages with a context each make no span of ten thousand links."""
    data = b"".join(message(parent(number)) for number in range(1, 100))

    assert len(links_to(parents_in(data, LINKS_MAX))) == LINKS_MAX
    assert parents_in(data, 0) == []


def test_what_is_no_trace_context_is_no_link() -> None:
    """Producers send anything: text in an event that looks like one, invalid ids, another version."""
    lookalike = b'{"traceparent": "%s"}' % parent(1).encode()
    data = b"".join([data_section(lookalike), message(parent(0)), message("01" + parent(1)[2:]), message("nonsense")])

    assert links_to(parents_in(data, LINKS_MAX)) == []
