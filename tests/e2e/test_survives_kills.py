"""The whole product under fire: services die without warning while traffic flows, and not one number is wrong."""

import random
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg

from tests.e2e.platform import Platform, expected_totals, wait_until
from tools.replay.ledger import Ledger
from tools.replay.messages import Disorder
from tools.replay.pacing import Pace
from tools.replay.source import Source

EVENTS = 60_000
RATE = 2_000
BLOWS_MIN = 4
SEED = 20261123


def test_killed_services_and_broken_connections_lose_and_double_nothing(platform: Platform) -> None:
    """SIGKILL of ingest and rollup, and terminated database sessions, each while there is work to do."""
    source = Source(
        anchor=datetime.now(UTC),
        events=EVENTS,
        duration=timedelta(hours=30),
        seed=SEED,
        disorder=Disorder(duplicates=0.02, late=0.02, invalid=0.001),
    )
    published: list[Ledger] = []
    messages = source.messages()[1]
    publishing = threading.Thread(target=lambda: published.append(platform.publish(messages, pace=Pace(rate=RATE))))
    publishing.start()
    rng = random.Random(SEED)
    blows = 0
    while publishing.is_alive():
        seen = platform.batch_counts()["received"]
        blows += _strike(platform, rng)
        # The next blow waits for progress, so that each one meets a service at work.
        wait_until(partial(_has_advanced, platform, seen, publishing), "progress after a blow")
    publishing.join()
    (ledger,) = published
    platform.wait_until_visible(ledger.messages)

    assert blows >= BLOWS_MIN
    assert platform.all_totals(ledger) == expected_totals(ledger)
    counts = platform.batch_counts()
    extra = ledger.extra_counts()
    assert counts["stored"] == ledger.events
    assert counts["received"] == ledger.messages == counts["stored"] + counts["duplicate"] + counts["rejected"]
    assert counts["rejected"] == extra["invalid"]


def _strike(platform: Platform, rng: random.Random) -> int:
    """One blow; 1 when it met something alive."""
    blow = rng.choice(["ingest", "ingest", "rollup", "sessions"])
    if blow == "sessions":
        with psycopg.connect(platform.database.superuser_dsn) as connection:
            row = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE usename IN ('analytics_ingest', 'analytics_rollup') AND datname = current_database()"
            ).fetchone()
        return 1 if row is not None else 0
    victim = platform.services[blow]
    alive = victim.exit_code is None
    victim.kill()
    platform.start(blow)
    return int(alive)


def _has_advanced(platform: Platform, seen: int, publishing: threading.Thread) -> bool:
    return platform.batch_counts()["received"] > seen or not publishing.is_alive()
