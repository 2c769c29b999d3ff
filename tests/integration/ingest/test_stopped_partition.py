"""A partition full of bad messages: it stops, stays stopped whatever restarts, and goes on when somebody decides."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx

from analytics_core import clock
from analytics_core.testing.builders import event_body
from tests.integration.ingest.streaming import STREAM, IngestStage, metric, publish, wait_for
from tests.support.processes import ServiceProcess


def good(number: int) -> bytes:
    return event_body(eventId=str(UUID(int=number)), occurredAt=clock.now().isoformat())


def wait_until_stopped(service: ServiceProcess) -> None:
    """A process whose partition is stopped never becomes ready; it may not even answer yet."""

    def is_stopped() -> bool:
        with suppress(httpx.ConnectError):
            return metric(service, "analytics_ingestion_stopped", partition="0") == 1
        return False

    wait_for(is_stopped, "the partition stops")


def decide(stage: IngestStage, *options: str, verb: str = "resume") -> subprocess.CompletedProcess[str]:
    """As an operator does."""
    return subprocess.run(
        [Path(sys.prefix) / "bin/analytics-ingest", "partitions", verb, "--partition", "0", "--as", "me", *options],
        env={"PATH": os.defpath, **stage.env()}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def test_restarts_bin_nothing_and_a_decision_bins_what_it_says(stage: IngestStage) -> None:
    """No batch holds a whole run, and the first one begins it behind a good message: the limit remembers all of it."""
    await publish(stage.rabbitmq, [good(0), b"bad"])
    service = stage.start(INGESTION_DEAD_LETTER_RUN_MAX="4")
    stage.wait_until_received(2)
    for number in range(2, 4):
        await publish(stage.rabbitmq, [b"bad"])
        stage.wait_until_received(number + 1)
    await publish(stage.rabbitmq, [b"bad"])
    wait_until_stopped(service)
    for _ in range(2):
        service.stop()
        service = stage.start(wait=False, INGESTION_DEAD_LETTER_RUN_MAX="4")
        wait_until_stopped(service)
        assert stage.totals()["rejected"] == 3

    [row] = stage.rows("SELECT * FROM analytics.stream_offsets")
    assert (row["next_offset"], row["stopped_through"]) == (4, 4)
    assert "4 dead letters in a row up to offset 4" in row["stopped_because"]

    await publish(stage.rabbitmq, [b"bad", b"bad", good(1), *[b"bad"] * 3, good(2)])
    assert "up to offset 4 become dead letters" in decide(stage).stdout
    assert stage.wait_until_received(12) == {
        "received": 12, "stored": 3, "duplicates": 0, "conflicts": 0, "rejected": 9,
    }  # fmt: skip
    wait_for(lambda: metric(service, "analytics_ingestion_stopped", partition="0") == 0, "the partition goes on")
    [row] = stage.rows("SELECT * FROM analytics.stream_offsets")
    assert (row["next_offset"], row["stopped_at"], row["dead_letters_through"]) == (12, None, 4)
    again = decide(stage, "--through", "99")
    assert (again.returncode, again.stderr) == (1, f"partition 0 of {STREAM} is not stopped\n")
    owned = decide(stage, verb="retire")
    assert (owned.returncode, owned.stderr) == (1, f"partition 0 of {STREAM} has an owner, who reads it\n")
    for verb in ("resume", "retire"):
        unknown = decide(stage, "--partition", "9", "--as", "you", verb=verb)
        assert (unknown.returncode, unknown.stderr) == (1, f"{STREAM} has no partition 9 that was ever read\n")
    recorded = stage.rows("SELECT path FROM analytics.audit_log WHERE subject = 'me' ORDER BY audit_id")
    assert [row["path"] for row in recorded] == [
        "partitions resume --partition 0", "partitions resume --partition 0 --through 99",
        "partitions retire --partition 0",
    ]  # fmt: skip


async def test_a_release_that_understands_the_messages_goes_on_by_itself(stage: IngestStage) -> None:
    """Nobody has to decide when nothing is wrong any more; here the limit is what has changed."""
    service = stage.start(INGESTION_DEAD_LETTER_RUN_MAX="4")
    await publish(stage.rabbitmq, [b"bad"] * 5)
    wait_until_stopped(service)
    assert stage.totals()["received"] == 0
    service.stop()
    stage.start(INGESTION_DEAD_LETTER_RUN_MAX="6")

    assert stage.wait_until_received(5)["rejected"] == 5
    wait_for(
        lambda: stage.value("SELECT stopped_at IS NULL FROM analytics.stream_offsets"), "the stop is no longer noted"
    )
