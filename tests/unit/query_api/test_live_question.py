"""The parameters of a stream: what is refused is told what is accepted."""

from datetime import UTC, datetime

import pytest

from analytics_core.errors import InvalidRequest
from analytics_query_api.live.question import live_question

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize("start", ["2027-01-01T00:00:00Z", "2025-01-01T00:00:00Z"])
@pytest.mark.parametrize(("granularity", "days"), [("hour", 7), ("day", 92)])
def test_a_start_out_of_reach_is_told_both_ends(start: str, granularity: str, days: int) -> None:
    """A time in the future is not too long ago."""
    with pytest.raises(InvalidRequest) as refused:
        live_question([("start", start), ("granularity", granularity)], NOW)

    assert [(error.field, error.detail) for error in refused.value.errors] == [
        ("start", f"expected a time from {days} days ago, with this granularity, to a day from now")
    ]
