"""Each event once: the first of an id stays, all others are counted, wherever batches end."""

from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from analytics_core.testing.builders import NOON, ORG_ID, OTHER_ORG_ID, event_body
from analytics_ingest.dedupe import sift
from analytics_ingest.event_rows import AcceptedTimes, plain_row
from tests.support.dedupe_model import Event, Model, events

TIMES = AcceptedTimes.at(NOON, timedelta(days=400))
HOUR = timedelta(hours=1)


def row(number: int = 1, *, hours: float = 0, org: UUID = ORG_ID, tokens: int = 100) -> bytes:
    body = event_body(
        eventId=str(UUID(int=number)),
        orgId=str(org),
        occurredAt=(NOON - hours * HOUR).isoformat(),
        inputTokens=tokens,
    )
    made = plain_row(body, TIMES)
    assert made is not None
    return made


def test_an_event_again_is_a_duplicate() -> None:
    """Producers retry: the same message twice is one event."""
    assert sift([row(1), row(2), row(1)], []) == ([row(1), row(2)], 0)


def test_of_two_bodies_with_one_id_the_first_stays() -> None:
    """Whoever sends second does not rewrite what was already counted, and is told apart from a faithful retry."""
    assert sift([row(1), row(1, tokens=200), row(1)], []) == ([row(1)], 1)


def test_an_id_within_24_hours_is_the_same_event() -> None:
    """A producer that stamps the time anew when it retries must not be billed twice."""
    assert sift([row(1, hours=24), row(1)], []) == ([row(1, hours=24)], 1)
    assert sift([row(1, hours=24.001), row(1)], []) == ([row(1, hours=24.001), row(1)], 0)
    far_apart = [row(1, hours=30), row(1), row(1, hours=29), row(1, hours=1)]
    assert sift(far_apart, []) == (far_apart[:2], 2)


def test_the_same_id_of_another_organisation_is_another_event() -> None:
    """Identity is organisation and id: tenants must not be able to block each other's ids."""
    assert len(sift([row(1), row(1, org=OTHER_ORG_ID)], []).new) == 2


def test_what_is_stored_comes_first() -> None:
    """The changed body is the conflict, not the faithful one after it."""
    assert sift([row(1, tokens=5), row(1), row(1, tokens=6)], [row(1)]) == ([], 2)


@given(batches=st.lists(st.lists(events, max_size=10), max_size=5))
def test_any_batches_leave_what_a_dictionary_would(batches: list[list[Event]]) -> None:
    """The whole contract: what is stored and how many conflicts there were do not depend on the cuts."""
    model = Model()
    stored: list[bytes] = []
    conflicts = 0
    for batch in batches:
        rows = []
        for event in batch:
            model.take(event)
            rows.append(row(event.number, hours=event.hours, org=event.org, tokens=event.tokens))
        new, differing = sift(rows, stored)
        stored += new
        conflicts += differing

    assert sorted(stored) == sorted(
        row(event.number, hours=event.hours, org=event.org, tokens=event.tokens) for event in model.events
    )
    assert conflicts == model.conflicts
