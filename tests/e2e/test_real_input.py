"""A production trace, and the generator, through the whole product: the API's totals equal the source exactly."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, expected_totals
from tools.replay.messages import Disorder
from tools.replay.source import Source

TRACE = Path(__file__).parents[3] / "shared" / "data" / "azure-llm-inference-conv-2023.csv"
TRACE_EVENTS, TRACE_CONTEXT_TOKENS, TRACE_GENERATED_TOKENS = 19_366, 22_361_870, 4_088_665


@pytest.mark.skipif(not TRACE.exists(), reason=f"the trace {TRACE.name} is not beside this checkout")
def test_a_production_trace_is_counted_exactly_and_only_once(platform: Platform) -> None:
    """Replayed as it was, then once more in another order: the second pass is all duplicates and changes no total."""
    anchor = datetime.now(UTC)
    count, first_pass = Source(anchor=anchor, trace=TRACE).messages()
    ledger = platform.publish(first_pass)
    platform.wait_until_visible(count)

    once = platform.all_totals(ledger)
    assert count == TRACE_EVENTS
    assert sum(org["events"] for org in once.values()) == TRACE_EVENTS
    assert sum(org["inputTokens"] for org in once.values()) == TRACE_CONTEXT_TOKENS
    assert sum(org["outputTokens"] for org in once.values()) == TRACE_GENERATED_TOKENS
    assert once == expected_totals(ledger)

    platform.publish(Source(anchor=anchor, trace=TRACE, shuffle=7).messages()[1])
    platform.wait_until_visible(2 * count)

    assert platform.all_totals(ledger) == once
    counts = platform.batch_counts()
    assert counts == {
        "received": 2 * TRACE_EVENTS,
        "stored": TRACE_EVENTS,
        "duplicate": TRACE_EVENTS,
        "conflict": 0,
        "rejected": 0,
        "unfolded": 0,
    }


def test_disorderly_traffic_is_counted_exactly_and_every_message_accounted_for(platform: Platform) -> None:
    """Duplicates, conflicts, late and broken messages among 30,000 events, published twice."""
    disorder = Disorder(duplicates=0.02, conflicts=0.005, late=0.02, invalid=0.002)
    source = Source(anchor=datetime.now(UTC), events=30_000, duration=timedelta(hours=30), seed=11, disorder=disorder)
    ledger = platform.publish(source.messages()[1])
    platform.wait_until_visible(ledger.messages)
    extra = ledger.extra_counts()

    assert min(extra.values()) > 0
    assert platform.all_totals(ledger) == expected_totals(ledger)
    assert platform.batch_counts() == {
        "received": ledger.messages,
        "stored": ledger.events,
        "duplicate": extra["duplicates"] + extra["conflicts"],
        "conflict": extra["conflicts"],
        "rejected": extra["invalid"],
        "unfolded": 0,
    }
    (dead_letters,) = platform.query("SELECT count(*) FROM analytics.dead_letters")
    assert dead_letters == extra["invalid"]

    again = platform.publish(replace(source, shuffle=3).messages()[1])
    platform.wait_until_visible(ledger.messages + again.messages)

    assert platform.all_totals(ledger) == expected_totals(ledger)
    assert platform.batch_counts()["stored"] == ledger.events
