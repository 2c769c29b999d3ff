"""Cursors: every position survives, no change does."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.query.statements import Position
from analytics_query_api.limits import CURSOR_CHARACTERS_MAX
from analytics_query_api.paging import decode_cursor, encode_cursor

# Lone surrogates are no text: no URL and no database can hold them.
CHARACTERS = st.characters(exclude_categories=["Cs"])
POSITIONS = st.builds(
    Position,
    st.lists(st.text(CHARACTERS, max_size=200), max_size=6).map(tuple),
    st.none() | st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.none() | st.integers(0, 2**63 - 1),
)


@given(position=POSITIONS, query=st.text(CHARACTERS))
def test_a_position_survives(position: Position, query: str) -> None:
    cursor = encode_cursor(position, query)

    assert decode_cursor(cursor, query) == position
    assert len(cursor) <= CURSOR_CHARACTERS_MAX


@given(position=POSITIONS, bit=st.integers(min_value=0))
def test_a_flipped_bit_is_noticed(position: Position, bit: int) -> None:
    """A cursor that was cut or changed on its way must not begin somewhere else."""
    cursor = encode_cursor(position, "query")
    data = bytearray(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    data[bit // 8 % len(data)] ^= 1 << bit % 8

    with pytest.raises(ValueError, match="nextCursor"):
        decode_cursor(urlsafe_b64encode(bytes(data)).rstrip(b"=").decode(), "query")


@given(text=st.text())
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="nextCursor"):
        decode_cursor(text, "query")
