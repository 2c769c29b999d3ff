"""What is promised over HTTP is counted: clocks that differ a little make no dead letter of it."""

from datetime import timedelta
from typing import Any

import pytest

from analytics_core.testing.builders import NOON, event_body
from analytics_ingest.http_ingest import HttpIngest
from analytics_ingest.limits import CLOCKS_APART_MAX

RETENTION = timedelta(days=400)
HOUR = timedelta(hours=1)


class AnythingGoes:
    """Whoever asks may write events of any organisation."""

    allowed = True

    def decide(self, _org_id: object) -> "AnythingGoes":
        return self

    async def recorded(self) -> None:
        """There is no record to wait for."""


@pytest.mark.parametrize(
    ("occurred_at", "is_promised"),
    [
        (NOON + HOUR - CLOCKS_APART_MAX, True),
        (NOON + HOUR - CLOCKS_APART_MAX / 2, False),
        (NOON - RETENTION + CLOCKS_APART_MAX, True),
        (NOON - RETENTION + CLOCKS_APART_MAX / 2, False),
    ],
)
async def test_an_event_at_the_edge_of_what_the_stream_accepts_is_refused(occurred_at: Any, is_promised: bool) -> None:
    nobody: Any = None
    ingest = HttpIngest(nobody, lambda: NOON, RETENTION)
    decisions: Any = AnythingGoes()

    problems = await ingest.problems([event_body(occurredAt=occurred_at.isoformat())], decisions)

    assert [problem.field for problem in problems] == ([] if is_promised else ["occurredAt"])
