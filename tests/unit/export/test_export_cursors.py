"""Cursors of the list of exports."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_export.jobs import JobPosition
from analytics_export.paging import decode_cursor, encode_cursor


@given(age=st.timedeltas(timedelta(0), timedelta(days=50_000)), job_id=st.uuids())
def test_a_cursor_comes_back_as_the_position_that_it_was_made_of(age: timedelta, job_id: UUID) -> None:
    """To the microsecond: a rounded time would skip or repeat an export."""
    position = JobPosition(datetime(1970, 1, 1, tzinfo=UTC) + age, job_id)

    assert decode_cursor(encode_cursor(position)) == position


@given(text=st.text(max_size=200))
def test_any_other_text_is_refused(text: str) -> None:
    """A cursor is typed by nobody, but sent by everybody."""
    with pytest.raises(ValueError, match="nextCursor"):
        decode_cursor(text)
