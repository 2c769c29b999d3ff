"""How fast committed batches become rollups.

Generates events in SQL (250 organisations and 40 models, both Zipf-like; log-normal latencies), commits them in batches
of 10,000 and folds them with the code of the service. Prints a line a round: events/s by the clock, and by the seconds
of processor time that PostgreSQL spent, which noise of a shared machine changes less.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from analytics_core.database import WriteDatabase
from analytics_rollup.fold import Claim, fold
from tests.support import stack_places
from tests.support.stack import Database, start_servers

GENERATE = """
INSERT INTO analytics.ingestion_batches (
    stream, partition, first_offset, last_offset, received_count, stored_count, duplicate_count, conflict_count,
    rejected_count, occurred_min, occurred_max, late, first_chunk_at
)
SELECT 'bench', 0, 0, 0, 10000, 10000, 0, 0, 0, since, since + length, false, since + length
FROM generate_series(1, %(batches)s), (SELECT %(since)s::timestamptz AS since, %(length)s::interval AS length) AS span
ORDER BY 1;
INSERT INTO analytics.usage_events (
    org_id, event_id, occurred_at, batch_id, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id
)
SELECT
    md5('org' || floor(250 ^ random()))::uuid, gen_random_uuid(),
    occurred_min + (occurred_max - occurred_min) * random(), batch_id, 0, (random() * 1e9)::bigint,
    exp(6.7 + 0.8 * random_normal())::integer, (random() * 4000)::integer, (random() * 800)::integer, 0, 0,
    CASE WHEN random() < 0.97 THEN 'success' ELSE 'error' END,
    'provider/model-' || floor(40 ^ random())
FROM analytics.ingestion_batches, generate_series(1, 10000) AS number
WHERE folded_at IS NULL
ORDER BY batch_id
"""
RECOUNT = "SELECT count(*) FROM analytics.recount_hours(%s, %s::timestamptz + interval '6 hours', NULL)"


def generate(place: Database, batches: int, since: str, length: str) -> None:
    """Committed batches whose events lie evenly in [since, since + length)."""
    with psycopg.connect(place.owner_dsn) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(GENERATE.encode(), {"batches": batches, "since": since, "length": length})


def server_seconds(place: Database) -> float:
    """Processor time of the rollup role's sessions so far; they are processes of this machine."""
    with psycopg.connect(place.superuser_dsn) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'analytics_rollup'"
        ).fetchall()
    stats = (Path(f"/proc/{pid}/stat").read_text().split() for (pid,) in rows)
    return sum(int(fields[13]) + int(fields[14]) for fields in stats) / 100


async def fold_all(database: WriteDatabase) -> int:
    events = 0
    while done := await fold(database, Claim()):
        events += done.events
    return events


async def measure(place: Database, database: WriteDatabase, name: str, workers: int) -> None:
    spent, started = server_seconds(place), time.perf_counter()
    events = sum(await asyncio.gather(*(fold_all(database) for _ in range(workers))))
    seconds, spent = time.perf_counter() - started, server_seconds(place) - spent
    sys.stdout.write(
        f"{name:<44}{workers} workers {events:>9,} events {seconds:6.2f} s {events / seconds:>9,.0f}/s"
        f"   {spent:6.2f} s of processor {events / spent:>9,.0f}/s\n"
    )


def measure_recount(place: Database, since: str) -> None:
    with psycopg.connect(place.owner_dsn) as connection:
        started = time.perf_counter()
        connection.execute(RECOUNT.encode(), [since, since])
        seconds = time.perf_counter() - started
    sys.stdout.write(f"{'re-aggregating the six hours instead':<44}{seconds:36.2f} s\n")


async def bench(place: Database, batches: int) -> None:
    noon, long_ago = "2026-03-10 12:00Z", "2026-03-09 06:00Z"
    async with WriteDatabase.open(place.dsn("analytics_rollup"), application_name="bench", pool_size=4) as database:
        generate(place, batches, noon, "50 minutes")
        await measure(place, database, "one hour, new buckets", 1)
        generate(place, batches, noon, "50 minutes")
        await measure(place, database, "the same hour again: hot buckets", 1)
        generate(place, batches, noon, "50 minutes")
        await measure(place, database, "the same hour again", 2)
        generate(place, batches, long_ago, "6 hours")
        await measure(place, database, "six older hours", 1)
        generate(place, max(1, batches // 20), long_ago, "6 hours")
        await measure(place, database, "a twentieth of that, late", 1)
    measure_recount(place, long_ago)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=100, help="batches of 10,000 events a round (default: 100)")
    options = parser.parse_args(arguments)
    with stack_places.database(start_servers()) as place:
        asyncio.run(bench(place, options.batches))


if __name__ == "__main__":
    main()
