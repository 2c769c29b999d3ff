"""Whatever comes is an event or a dead letter, and nothing happens to what came beside it."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.errors import InvalidRequest, TooLarge
from analytics_core.events import UsageEvent
from analytics_core.testing.builders import NOON, event_body
from analytics_ingest.amqp import NotAmqp, data_of
from analytics_ingest.batch import Batch
from analytics_ingest.cloud_batches import cloud_events_in
from analytics_ingest.decode import Rejection, claimed_org, decode
from analytics_ingest.event_bodies import JSON, LINES, split
from analytics_ingest.event_fields import field_errors
from analytics_ingest.event_rows import AcceptedTimes, plain_row, row_of
from analytics_ingest.receipts import claimed_event_id
from tests.support.wild_bodies import wild_bodies

RETENTION = timedelta(days=400)
SLOW = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large]
)


def good(number: int) -> bytes:
    return event_body(eventId=str(UUID(int=number)))


@SLOW
@given(body=wild_bodies())
def test_any_body_is_an_event_or_says_what_is_wrong(body: bytes) -> None:
    """In every place that looks at bodies: decoder, the short way past it, receipts, the list of wrong fields."""
    found = decode(body, NOON, RETENTION)
    row = plain_row(body, AcceptedTimes.at(NOON, RETENTION))
    claimed_event_id(body), claimed_org(body)

    if isinstance(found, UsageEvent):
        assert row in (None, row_of(found))
        assert field_errors(body, NOON, RETENTION) == []
    else:
        assert row is None
        assert found.detail
        assert field_errors(body, NOON, RETENTION)
        assert "\0" not in found.detail + (found.field or "")
        (found.detail + (found.field or "")).encode()


@SLOW
@given(wild=st.lists(wild_bodies(), min_size=1, max_size=6), data=st.data())
def test_no_neighbour_is_lost(wild: list[bytes], data: st.DataObject) -> None:
    """received = events + dead letters, every good event is there, and offsets count messages."""
    bodies = data.draw(st.permutations([*wild, *map(good, range(1000, 1005))]))
    batch = Batch(RETENTION)
    taken = batch.add(bodies, 100, NOON)

    whole = [part for body in bodies[:taken] for part in cloud_events_in(body) or [body]]
    judged = [decode(part, NOON, RETENTION) for part in whole]
    assert taken == len(bodies)
    assert batch.last_offset == 100 + len(bodies) - 1
    assert batch.events == [row_of(each) for each in judged if isinstance(each, UsageEvent)]
    assert [letter.rejection for letter in batch.dead_letters] == [
        each for each in judged if isinstance(each, Rejection)
    ]
    assert batch.received == len(judged) == len(batch.events) + len(batch.dead_letters)
    assert {row_of(decode(good(number), NOON, RETENTION)) for number in range(1000, 1005)} <= set(batch.events)  # type: ignore[arg-type]


@SLOW
@given(body=wild_bodies())
def test_any_request_body_is_taken_apart_or_refused(body: bytes) -> None:
    """Never an error of ours: a 500 would call somebody."""
    for media_type in (JSON, LINES):
        with suppress(TooLarge, InvalidRequest):
            assert split(body, media_type)


@given(message=st.binary(max_size=400))
def test_any_message_has_data_or_is_no_amqp(message: bytes) -> None:
    """The frame around the body is as foreign as the body."""
    for attempt in (message, b"\x00\x53\x75\xa0" + message, b"\x00\x53\x75\xb0" + message):
        with suppress(NotAmqp):
            assert isinstance(data_of(attempt), bytes)
