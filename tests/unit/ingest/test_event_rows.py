"""The short way from a message to a row agrees with the full decoder, whatever comes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_core.events import COST_CENTS_MAX, FUTURE_MAX, INT_MAX
from analytics_core.testing.builders import NOON, event_body, usage_event
from analytics_ingest.decode import Rejection, decode
from analytics_ingest.event_rows import AcceptedTimes, occurred_us, plain_row, row_of, row_of_stored
from tests.support.wild_bodies import WILD_VALUES

RETENTION = timedelta(days=400)
TIMES = AcceptedTimes.at(NOON, RETENTION)
EXAMPLES = Path(__file__).parents[3] / "contracts/events/examples"

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
counts = st.integers(0, INT_MAX)
cents = (
    st.decimals(0, COST_CENTS_MAX, places=6).map(str)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.sampled_from(["0", "1.", ".5", "007", "1e2", "-0", "-1", "1_0", " 1", "0.1234567", "1000000", "1000000.1"])
)
anything: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
)
odd_fields = st.fixed_dictionaries(
    {},
    optional={
        "occurredAt": st.sampled_from(
            [
                (NOON + FUTURE_MAX).isoformat(),
                (NOON + FUTURE_MAX + timedelta(microseconds=1)).isoformat(),
                (NOON - RETENTION).isoformat(),
                (NOON - RETENTION - timedelta(microseconds=1)).isoformat(),
                "2026-03-10T12:00:00.123456+05:30",
                "2026-03-10T12:00:00",
                "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-12:00",
            ]
        ),
        "status": st.sampled_from(["success", "error", "timeout", "throttled", "other"]),
        "inputTokens": counts,
        "outputTokens": counts,
        "cachedInputTokens": st.none() | counts,
        "reasoningTokens": st.none() | counts,
        "costEstimateCents": cents | st.integers(-1, 10**7) | st.floats(0, 10),
        "modelId": texts,
        "actorId": st.none() | texts,
        "clientId": st.none() | texts | st.just("x" * 201),
        "errorCode": st.none() | texts,
        "metadata": st.none() | st.dictionaries(texts, texts, max_size=4) | st.just({"a": 1}) | st.just({"": "a"}),
        "orgId": st.uuids().map(str) | st.uuids().map(lambda id_: id_.hex) | st.just("{}"),
        "extra": anything,
    },
)


def full_row(body: bytes) -> bytes | None:
    event = decode(body, NOON, RETENTION)
    return None if isinstance(event, Rejection) else row_of(event)


@given(fields=odd_fields, wrong=st.dictionaries(st.sampled_from(sorted(usage_event())), anything, max_size=1))
def test_what_the_short_way_takes_the_full_decoder_takes_alike(
    fields: dict[str, object], wrong: dict[str, object]
) -> None:
    """It may say "ask the full decoder" about anything; it may never decide otherwise."""
    body = msgspec.json.encode({**usage_event(), **fields, **wrong})

    assert plain_row(body, TIMES) in {None, full_row(body)}


names = st.sampled_from([*sorted(usage_event()), "metadata", "actorId", "extra"])


@given(
    fields=odd_fields,
    before=st.lists(st.tuples(names, st.sampled_from(WILD_VALUES) | anything.map(json.dumps)), max_size=2),
    behind=st.lists(st.tuples(names, anything.map(json.dumps)), max_size=1),
)
def test_of_a_repeated_field_the_last_value_counts_either_way(
    fields: dict[str, object], before: list[tuple[str, str]], behind: list[tuple[str, str]]
) -> None:
    """The short way never looks at some of the values that do not count; the full decoder must not mind them."""
    event = [(name, msgspec.json.encode(value).decode()) for name, value in {**usage_event(), **fields}.items()]
    repeating, plain = (
        b"{%b}" % ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs).encode()
        for pairs in ([*before, *event, *behind], {**dict(before), **dict(event), **dict(behind)}.items())
    )
    row = plain_row(repeating, TIMES)

    assert row in {None, full_row(repeating)}
    if row is not None or full_row(repeating) is not None:
        assert full_row(repeating) == full_row(plain)


@given(
    digits=st.uuids().map(lambda made: made.hex) | st.uuids().map(lambda made: made.hex.upper()),
    hyphens=st.just([8, 12, 16, 20]) | st.lists(st.sampled_from([8, 12, 16, 20, 24, 32]), max_size=5),
    put=st.tuples(
        st.sampled_from([0, 2, 5, 8, 9, 34, 36]), st.sampled_from(["", " ", "  ", "g", "é"]), st.integers(0, 2)
    ),
)
@example(digits="0123456789abcdef" * 2, hyphens=[8, 12, 16, 20], put=(2, "  ", 2))
def test_an_id_is_read_in_its_usual_spelling_alone(digits: str, hyphens: list[int], put: tuple[int, str, int]) -> None:
    """Hyphens in other places, blanks among the digits, no hyphens: the full decoder says what that is."""
    usual = event_body(eventId=str(UUID(digits)))
    odd = digits
    for place in sorted(hyphens, reverse=True):
        odd = f"{odd[:place]}-{odd[place:]}"
    place, text, cut = put
    other = event_body(eventId=odd[:place] + text + odd[place + cut :])

    assert plain_row(usual, TIMES) == full_row(usual) is not None
    assert plain_row(other, TIMES) in {None, full_row(other)}


@given(body=st.binary(max_size=200), cut=st.integers(0, 300), put=st.binary(max_size=3))
def test_damaged_messages_are_left_to_the_full_decoder(body: bytes, cut: int, put: bytes) -> None:
    """Nothing but None leaves it for what is no event, and no exception whatever the bytes."""
    whole = event_body(metadata={"project": "p"})
    damaged = whole[:cut] + put + whole[cut + len(put) :]

    assert plain_row(body, TIMES) is None
    assert plain_row(damaged, TIMES) in {None, full_row(damaged)}


def test_the_contracts_examples_take_the_short_way() -> None:
    """Otherwise the whole stream would take the long one, and nobody would notice but the processor."""
    clock = json.loads((EXAMPLES.parent / "clock.json").read_text())
    times = AcceptedTimes.at(datetime.fromisoformat(clock["now"]), timedelta(days=clock["rawRetentionDays"]))
    examples = {path.stem: json.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*.json"))}
    taken = {
        name: all(
            plain_row(json.dumps(event).encode(), times) is not None
            for event in (content if isinstance(content, list) else [content])
        )
        for name, content in examples.items()
    }

    assert taken["minimal"]
    assert taken["full"]
    assert sum(taken.values()) > len(taken) / 2, taken


@pytest.mark.parametrize(
    "again",
    [
        {"occurredAt": "2026-03-10T17:30:00+05:30"},
        {"costEstimateCents": 0.125},
        {"costEstimateCents": "0.1250"},
        {"cachedInputTokens": 0, "reasoningTokens": 0},
        {"metadata": {"b": "2", "a": "1"}},
    ],
)
def test_spelling_makes_no_other_row(again: dict[str, object]) -> None:
    """A retry through another library is a duplicate, not a conflict."""
    event = usage_event(metadata={"a": "1", "b": "2"})

    assert plain_row(msgspec.json.encode(event | again), TIMES) == plain_row(msgspec.json.encode(event), TIMES)
    assert plain_row(msgspec.json.encode(event | {"inputTokens": 101}), TIMES) != plain_row(
        msgspec.json.encode(event), TIMES
    )


def test_a_row_knows_its_time() -> None:
    """To the microsecond."""
    row = plain_row(event_body(occurredAt="2026-03-10T11:59:59.999999Z"), TIMES)

    assert row is not None
    assert (
        occurred_us(row)
        == (datetime(2026, 3, 10, 12, tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1) - 1
    )


def test_a_stored_event_has_the_row_that_it_came_as() -> None:
    """jsonb gives metadata back in its own order and spacing."""
    event = decode(event_body(metadata={"long": "1", "b": "ü"}, status="error", errorCode="e"), NOON, RETENTION)
    assert not isinstance(event, Rejection)
    stored = msgspec.structs.asdict(event) | {"metadata": '{"b": "ü", "long": "1"}'}

    assert row_of_stored(stored) == row_of(event)
