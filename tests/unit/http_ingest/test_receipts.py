"""Receipts find their event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_ingest.receipts import claimed_event_id


@pytest.mark.parametrize(
    ("body", "claimed"),
    [
        (b'{"eventId":"mine","x":[1]}', "mine"),
        (b'{"eventId":null}', None),
        (b'{"eventId":7}', None),
        (b'{"eventId":"' + b"x" * 101 + b'"}', None),
        (b"[]", None),
        (b'{"eventId":"mine"', None),
        (b'{"eventId":"' + b"x" * 100_000 + b'"}', None),
    ],
)
def test_a_rejected_event_is_named_as_it_named_itself(body: bytes, claimed: str | None) -> None:
    """Its sender looks for that id, whatever else is wrong; what is no short text is not repeated."""
    assert claimed_event_id(body) == claimed


@given(st.binary())
def test_any_bytes_are_looked_at_without_an_error(body: bytes) -> None:
    """A rejected event can be anything."""
    claimed_event_id(body)
