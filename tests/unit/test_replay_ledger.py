"""The ledger is the yardstick, so it is checked against plain sums; pacing decides when, never what."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from tools.replay.decoration import decorate
from tools.replay.generator import generate
from tools.replay.ledger import Ledger, Sums
from tools.replay.messages import Disorder, Kind, Message, messages
from tools.replay.pacing import BATCH_MESSAGES_MAX, Pace, batches
from tools.replay.report import as_text, summarize, usd

START = datetime(2026, 11, 2, tzinfo=UTC)


def some_messages(count: int = 3000, disorder: Disorder | None = None) -> list[Message]:
    events = decorate(generate(count, START, timedelta(hours=2), 1), seed=1, orgs=12)
    return list(messages(events, disorder or Disorder(0.1, 0.1, 0.1, 0.1), seed=1))


def filled(sent: list[Message]) -> Ledger:
    ledger = Ledger("stream", seed=1)
    for message in sent:
        ledger.add(message)
    return ledger


def test_only_first_copies_of_valid_events_are_summed() -> None:
    """This is what the API has to show, to the last token and micro-cent."""
    sent = some_messages()
    events = [message.event for message in sent if message.kind is Kind.EVENT and message.event]
    totals = filled(sent).totals

    assert totals.events == len(events) == 3000
    assert totals.cost_microcents == sum(event.cost_microcents for event in events)
    assert totals.input_tokens == sum(event.input_tokens for event in events)
    assert totals.output_tokens == sum(event.output_tokens for event in events)
    assert totals.cached_input_tokens == sum(event.cached_input_tokens for event in events)
    assert totals.reasoning_tokens == sum(event.reasoning_tokens for event in events)
    assert totals.success + totals.error + totals.timeout + totals.throttled == totals.events


def test_every_message_is_counted_once() -> None:
    """received = stored + duplicate + rejected starts here."""
    sent = some_messages()
    ledger = filled(sent)

    assert ledger.messages == len(sent)
    assert ledger.events + sum(ledger.extra.values()) == len(sent)


def test_organisations_and_models_add_up_to_the_totals() -> None:
    """Three views of one sum."""
    ledger = filled(some_messages())
    orgs = ledger.by_org()

    assert sum(orgs.values(), Sums()) == ledger.totals
    for org_id, sums in orgs.items():
        assert sum(ledger.by_model(org_id).values(), Sums()) == sums
    assert [sums.events for sums in orgs.values()] == sorted((s.events for s in orgs.values()), reverse=True)


def test_the_range_of_times_covers_late_events() -> None:
    """Queries that compare with the ledger take their range from it."""
    sent = some_messages()
    times = [message.event.occurred_at for message in sent if message.event]
    ledger = filled(sent)

    assert (ledger.first_occurred_at, ledger.last_occurred_at) == (min(times), max(times))


def test_the_printed_ledger_is_json_with_integers_for_money() -> None:
    """Other tools read it; a float would lose micro-cents."""
    ledger = filled(some_messages())
    printed = json.loads(as_text(ledger), parse_float=str)

    assert printed == json.loads(json.dumps(ledger.as_json()), parse_float=str)
    assert printed["totals"]["costMicrocents"] == ledger.totals.cost_microcents
    assert all(type(value) is int for value in printed["totals"].values())
    assert printed["lastOccurredAt"].endswith("Z")


def test_an_empty_ledger_prints_too() -> None:
    """A replay that is stopped at once has one."""
    printed = json.loads(as_text(Ledger("stream")))

    assert (printed["messages"], printed["firstOccurredAt"], printed["orgs"]) == (0, None, {})


def test_dollars_are_exact() -> None:
    """1 USD is 100 cents of a million micro-cents."""
    assert str(usd(123_456_789_012_345)) == "1234567.89012345"
    assert f"{usd(1):f}" == "0.00000001"


@pytest.mark.parametrize("pace", [Pace(), Pace(rate=1000.0), Pace(speed=60.0)])
def test_batches_keep_every_message_in_order(pace: Pace) -> None:
    """Whatever the pace."""
    sent = some_messages()
    cut = list(batches(sent, pace))

    assert [message for batch in cut for message in batch.messages] == sent
    assert all(0 < len(batch.messages) <= BATCH_MESSAGES_MAX for batch in cut)
    assert [batch.due_s for batch in cut] == sorted(batch.due_s for batch in cut)


def test_a_rate_spreads_messages_evenly() -> None:
    """1,000 a second: message n is due after n milliseconds, in batches of at most 20 ms."""
    cut = list(batches(some_messages(500, Disorder()), Pace(rate=1000.0)))
    position = 0
    for batch in cut:
        assert batch.due_s == pytest.approx(position / 1000)
        assert len(batch.messages) <= 21
        position += len(batch.messages)


def test_a_speed_follows_the_times_of_the_events() -> None:
    """Two hours at 60 times the pace take two minutes; late events do not turn the clock back."""
    cut = list(batches(some_messages(), Pace(speed=60.0)))

    assert cut[0].due_s == 0
    assert 115 < cut[-1].due_s < 120


def test_as_fast_as_possible_is_due_at_once() -> None:
    """No pace, no waiting."""
    assert {batch.due_s for batch in batches(some_messages(), Pace())} == {0.0}


def test_a_summary_shows_whole_ids_however_narrow_the_output() -> None:
    """A pipe has 80 columns, and the ids are what one goes on with."""
    ledger = filled(some_messages())
    output = io.StringIO()
    summarize(Console(file=output, width=40), ledger)

    shown = {line.split()[1]: line for line in output.getvalue().splitlines() if line.startswith("│")}
    for org_id, sums in list(ledger.by_org().items())[:5]:
        assert f" {sums.input_tokens:,} " in shown[org_id]
