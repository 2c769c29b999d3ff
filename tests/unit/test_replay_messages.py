"""What is published: valid events that are the same every time, and disorder that is exactly what it says."""

import itertools
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from analytics_core.events import EventRejected, UsageEvent, decode_event
from analytics_core.units import cents_from_microcents
from tools.replay.calls import Call
from tools.replay.decoration import BLOCK, decorate
from tools.replay.event import Event, encode
from tools.replay.generator import generate
from tools.replay.messages import BREAKAGES, Disorder, Kind, Message, messages, shuffled

NOW = datetime(2026, 11, 3, tzinfo=UTC)
START = datetime(2026, 11, 2, tzinfo=UTC)
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "contracts/events/usage_event.v1.schema.json").read_text(encoding="utf-8")
)


def some_calls(count: int = 2000) -> list[Call]:
    return list(generate(count, START, timedelta(days=1), 1))


def some_events(count: int = 2000, seed: int = 1) -> list[Event]:
    return list(decorate(some_calls(count), seed=seed, orgs=20))


def decode(body: bytes) -> UsageEvent:
    return decode_event(body, NOW, timedelta(days=400))


def published(disorder: Disorder, count: int = 2000) -> list[Message]:
    return list(messages(some_events(count), disorder, seed=3))


def test_every_event_satisfies_the_contract_and_arrives_as_it_left() -> None:
    """What the ledger counts is what the decoder reads, money and time to the last digit."""
    validator = Draft202012Validator(SCHEMA)
    for event in some_events():
        body = encode(event)
        validator.validate(json.loads(body))
        read = decode(body)

        assert (str(read.org_id), str(read.event_id), read.model_id) == (event.org_id, event.event_id, event.model_id)
        assert read.occurred_at == event.occurred_at
        assert read.cost_microcents == event.cost_microcents
        assert (read.status, read.error_code, read.latency_ms) == (event.status, event.error_code, event.latency_ms)
        assert (read.input_tokens, read.cached_input_tokens) == (event.input_tokens, event.cached_input_tokens)
        assert (read.output_tokens, read.reasoning_tokens) == (event.output_tokens, event.reasoning_tokens)
        assert not read.has_unknown_fields


def test_tokens_and_times_are_those_of_the_calls() -> None:
    """A trace's totals can be checked against its file only if nothing is changed on the way."""
    calls = some_calls()

    assert [(e.occurred_us, e.input_tokens, e.output_tokens) for e in decorate(calls, seed=9, orgs=3)] == calls


def test_costs_are_written_as_numbers_and_as_strings() -> None:
    """Producers do both, and both must be exact."""
    costs = [(event, json.loads(encode(event), parse_float=str)["costEstimateCents"]) for event in some_events(200)]
    spellings = Counter(b'"costEstimateCents":"' in encode(event) for event, _ in costs)

    assert min(spellings[True], spellings[False]) > 50
    assert all(cents_from_microcents(event.cost_microcents) == type(cents_from_microcents(0))(c) for event, c in costs)


def test_the_same_seed_and_times_give_the_same_bytes() -> None:
    """That makes a second replay a replay of duplicates."""
    assert [encode(e) for e in some_events(seed=5)] == [encode(e) for e in some_events(seed=5)]


def test_another_time_gives_new_events_of_the_same_organisations() -> None:
    """Replaying `--ending now` twice must not make conflicts."""
    moved = [call._replace(occurred_us=call.occurred_us + 60_000_000) for call in some_calls()]
    first, second = some_events(), list(decorate(moved, seed=1, orgs=20))

    assert {e.event_id for e in first}.isdisjoint(e.event_id for e in second)
    assert {e.org_id for e in first} == {e.org_id for e in second}


def test_the_first_events_do_not_depend_on_how_many_follow() -> None:
    """`--events 10` shows the beginning of the whole."""
    many = some_calls(BLOCK + 100)

    assert list(decorate(many[:10], seed=1, orgs=20)) == list(itertools.islice(decorate(many, seed=1, orgs=20), 10))


def test_event_ids_are_distinct_across_blocks() -> None:
    """A repeated id would be stored once, and the ledger would be wrong."""
    ids = {event.event_id for event in some_events(3 * BLOCK)}

    assert len(ids) == 3 * BLOCK


def test_few_organisations_make_most_of_the_calls() -> None:
    """Zipf: queries must be fast for the largest tenant, not the average one."""
    shares = Counter(event.org_id for event in some_events(10_000)).most_common()

    assert len(shares) == 20
    assert shares[0][1] > 5 * shares[-1][1]


def test_errors_come_in_bursts() -> None:
    """An on-call engineer looks for a spike; an even error rate has none."""
    groups: dict[tuple[str, int], Counter[str]] = {}
    for event in some_events(60_000):
        groups.setdefault((event.model_id, event.occurred_us // 600_000_000), Counter())[event.status] += 1
    rates = sorted(1 - c["success"] / c.total() for c in groups.values() if c.total() >= 20)

    assert rates[len(rates) // 2] < 0.05
    assert rates[-1] > 0.25


def test_without_disorder_there_is_one_message_for_each_event_in_order() -> None:
    """The plain case stays plain."""
    assert [message.event for message in published(Disorder())] == some_events()
    assert {(message.kind, message.late) for message in published(Disorder())} == {(Kind.EVENT, False)}


def test_disorder_adds_messages_and_takes_no_event_away() -> None:
    """The ledger's totals are the same whatever the disorder."""
    disorder = Disorder(duplicates=0.1, conflicts=0.05, late=0.2, invalid=0.1)
    sent = published(disorder)
    kinds = Counter(message.kind for message in sent)
    events = {m.event.event_id for m in sent if m.kind is Kind.EVENT and m.event}

    assert events == {event.event_id for event in some_events()}
    assert kinds[Kind.EVENT] == 2000
    assert 150 < kinds[Kind.DUPLICATE] < 250
    assert 60 < kinds[Kind.CONFLICT] < 140
    assert 150 < kinds[Kind.INVALID] < 250
    assert 320 < sum(message.late for message in sent) < 480


def test_duplicates_and_conflicts_follow_the_event_they_repeat() -> None:
    """The first body stays, so the ledger must know which one is first; same body or not is what tells them apart."""
    bodies: dict[str, bytes] = {}
    for message in published(Disorder(duplicates=0.2, conflicts=0.2, late=0.3)):
        assert message.event is not None
        if message.kind is Kind.EVENT:
            bodies[message.event.event_id] = message.body
            continue
        first, again = decode(bodies[message.event.event_id]), decode(message.body)

        assert first.event_id == again.event_id
        assert (first == again) is (message.kind is Kind.DUPLICATE)


def test_late_events_are_overtaken_by_newer_ones() -> None:
    """Late means that events with a later time were published before; only the very last may have none after them."""
    sent = published(Disorder(late=0.1))
    times = [message.event.occurred_us for message in sent if message.event]
    newest_before = [0, *itertools.accumulate(times, max)]
    overtaken = [newest_before[n] > times[n] for n, message in enumerate(sent) if message.late]

    assert len(overtaken) > 100
    assert overtaken.count(False) <= 3


@pytest.mark.parametrize("breakage", range(len(BREAKAGES)))
def test_a_broken_message_is_refused_however_it_is_broken(breakage: int) -> None:
    """A message that is counted as invalid and then stored would make the ledger a lie."""
    for event in some_events(300):
        with pytest.raises(EventRejected):
            decode(BREAKAGES[breakage](encode(event)))


def test_shuffling_changes_the_order_and_nothing_else() -> None:
    """The same events in any order give the same numbers."""
    ordered = published(Disorder(duplicates=0.1))

    assert shuffled(ordered, 7) != ordered
    assert shuffled(ordered, 7) == shuffled(ordered, 7)
    assert _bodies(shuffled(ordered, 7)) == _bodies(ordered)


def _bodies(sent: list[Message]) -> Any:
    return sorted(message.body for message in sent)
