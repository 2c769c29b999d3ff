"""A batch counts every message once and is bounded."""

from datetime import datetime, timedelta
from uuid import UUID

from analytics_core.testing.builders import NOON, ORG_ID, event_body
from analytics_ingest.batch import Batch
from analytics_ingest.chunks import Unreadable
from analytics_ingest.event_rows import KEY

RETENTION = timedelta(days=400)
HOUR = timedelta(hours=1)


def batch(events_max: int = 10_000, bytes_max: int = 1_000_000) -> Batch:
    return Batch(RETENTION, events_max=events_max, bytes_max=bytes_max)


def body(number: int = 1, *, hours: float = 0, tokens: int = 100) -> bytes:
    occurred_at = (NOON - hours * HOUR).isoformat()
    return event_body(eventId=str(UUID(int=number)), orgId=str(ORG_ID), occurredAt=occurred_at, inputTokens=tokens)


def filled(*bodies: bytes | Unreadable, first_offset: int = 10, accepted_at: datetime = NOON) -> Batch:
    made = batch()
    assert made.add(bodies, first_offset, accepted_at) == len(bodies)
    return made


def ids(made: Batch) -> list[int]:
    return [int.from_bytes(row[KEY][-16:], "big") for row in made.events]


def test_bad_messages_are_dead_letters_with_their_bytes_and_offsets() -> None:
    """What cannot be stored can be found, mended and replayed."""
    made = filled(body(1), b"{nonsense", Unreadable(b"raw", "no data section"), body(2))

    assert len(made.events) == 2
    assert [(letter.offset, letter.position) for letter in made.dead_letters] == [(11, 1), (12, 2)]
    assert [letter.rejection.reason for letter in made.dead_letters] == ["not_json", "not_amqp"]
    assert [letter.rejection.body for letter in made.dead_letters] == [b"{nonsense", b"raw"]


def test_what_a_dead_letter_says_can_be_stored() -> None:
    """Details quote the message; PostgreSQL's text takes no NUL, and a page of it helps nobody."""
    made = filled(event_body(status="a\0b"), event_body(metadata={"x" * 5000: "\0"}))

    texts = [text for letter in made.dead_letters for text in (letter.rejection.detail, letter.rejection.field or "")]
    assert len(made.dead_letters) == 2
    assert not any("\0" in text or len(text) > 500 for text in texts)


def test_time_is_judged_as_of_acceptance() -> None:
    """A replay years later decides as the first read did, so that it finds the same events."""
    old = body(1, hours=24 * 399)

    assert len(filled(old, accepted_at=NOON).events) == 1
    assert filled(old, accepted_at=NOON + timedelta(days=2)).dead_letters[0].rejection.reason == "too_old"


def test_a_batch_with_an_old_event_is_late() -> None:
    """Late batches change buckets that were believed closed."""
    assert filled(body(1, hours=1.1)).is_late
    assert not filled(body(1, hours=0.9)).is_late


def test_a_batch_stops_at_its_number_of_messages() -> None:
    """The limit bounds a transaction; what does not fit waits for the next batch."""
    made = batch(events_max=3)

    assert made.add([body(number) for number in range(5)], 0, NOON) == 3
    assert made.is_full
    assert (made.first_offset, made.last_offset) == (0, 2)


def test_a_batch_stops_at_its_size_but_takes_one_message() -> None:
    """A message larger than the limit must not block the stream."""
    made = batch(bytes_max=1000)

    assert made.add([b"x" * 5000, body(1)], 0, NOON) == 1
    assert made.is_full


def test_a_batch_of_plain_events_stops_at_its_size() -> None:
    """They are taken all at once, unless the size ends between them."""
    plain = [body(number) for number in range(5)]
    made = batch(bytes_max=len(plain[0]) * 3)

    assert made.add(plain, 0, NOON) == 3
    assert (made.is_full, ids(made)) == (True, [0, 1, 2])


def test_every_event_is_found_again_by_its_position() -> None:
    """The database refuses a row, and the position says which message of the batch that was."""
    made = batch()
    made.add([body(0), body(1)], 0, NOON)
    made.add([body(2), b"{nonsense", body(4)], 2, NOON)
    made.add([body(5), body(6)], 5, NOON)

    assert list(zip(ids(made), made.event_positions, strict=True)) == [(n, n) for n in (0, 1, 2, 4, 5, 6)]


def test_offsets_and_times_span_the_chunks() -> None:
    """The position that is committed is that of the last message, jumps between chunks included."""
    made = batch()
    made.add([body(1)], 5, NOON)
    made.add([body(2), body(3)], 100, NOON + HOUR)

    assert (made.first_offset, made.last_offset, made.received) == (5, 101, 3)
    assert (made.first_accepted_at, made.last_accepted_at) == (NOON, NOON + HOUR)


def test_unstorable_events_become_dead_letters_and_the_others_stay() -> None:
    """If the first of two bodies is refused by the database, the second one is no duplicate of anything stored."""
    made = batch()
    made.add([body(1, tokens=1), body(2)], 0, NOON)
    made.add([body(1, tokens=2)], 2, NOON)

    rebuilt = made.rebuilt_without({0: "refused"})

    assert [(letter.offset, letter.rejection.reason) for letter in rebuilt.dead_letters] == [(0, "not_storable")]
    assert rebuilt.events == made.events[1:]
    assert (rebuilt.received, rebuilt.event_positions, rebuilt.last_offset) == (3, [1, 2], 2)


def cloud_events(*bodies: bytes) -> bytes:
    return b"[" + b",".join(b'{"specversion":"1.0","data":' + each + b"}" for each in bodies) + b"]"


def test_each_event_of_a_cloud_events_batch_counts_at_the_offset_of_its_message() -> None:
    """A bad one is a dead letter of its own, with its own bytes and place; the offset moves by one message."""
    made = filled(body(1), cloud_events(body(2), b'{"eventId":5}', body(1), body(3)), b"bad", body(4))

    assert ids(made) == [1, 2, 1, 3, 4]
    assert (made.received, made.first_offset, made.last_offset) == (7, 10, 13)
    assert [letter[:3] for letter in made.dead_letters] == [(11, 1, 2), (12, 0, 5)]
    assert made.dead_letters[0].rejection.body == b'{"specversion":"1.0","data":{"eventId":5}}'


def test_one_unstorable_event_of_a_cloud_events_batch_leaves_the_others() -> None:
    """The database refuses an event, not the message that it came in."""
    made = filled(body(1), cloud_events(body(2), body(3), body(4)))
    rebuilt = made.rebuilt_without({made.event_positions[2]: "refused"})

    assert ids(rebuilt) == [1, 2, 4]
    assert [letter[:3] for letter in rebuilt.dead_letters] == [(11, 1, 2)]
    assert b"00000003" in rebuilt.dead_letters[0].rejection.body
    assert (rebuilt.received, rebuilt.last_offset) == (4, 11)


def test_a_batch_is_full_by_events_not_by_messages() -> None:
    """A transaction is bounded by what it writes; a message is taken whole or not at all."""
    made = batch(events_max=4)

    assert made.add([cloud_events(body(1), body(2)), cloud_events(body(3), body(4), body(5)), body(6)], 0, NOON) == 2
    assert (made.is_full, made.received, made.last_offset) == (True, 5, 1)


def test_usual_and_unusual_events_stand_in_the_order_in_which_they_came() -> None:
    """Whether the short way or the full decoder read an event makes no difference to what follows."""
    unusual = event_body(eventId=str(UUID(int=2)), orgId=str(ORG_ID), costEstimateCents="1e1", surprise=1)
    made = filled(body(1), unusual, body(3))

    assert ids(made) == [1, 2, 3]
    assert (made.event_positions, made.unknown_field_events) == ([0, 1, 2], 1)
