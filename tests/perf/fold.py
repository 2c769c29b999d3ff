"""How fast committed batches become rollups, and what late events cost.

Generates events in SQL: 250 organisations and 40 models, both Zipf-like, up to 8 clients, 400 users and 5 projects an
organisation, log-normal latencies. They are committed in batches of 10,000 and folded with the code of the service:

  backlog   what gathers while rollup stands still at 50,000 events/s, folded by two workers: events/s, by model
            (fold_events_per_s) and by the other dimensions
  late      events for six hours of yesterday, against a recount of those hours from their events, in all families: late
            as after a producer's outage (late_cost_ratio), and evenly over everything (late_cost_ratio_worst)
  flatness  what an event costs with --rows events stored, as a multiple of what it costs with 1,000,000

Times by the clock mean something on an idle machine alone; costs are processor time of PostgreSQL's sessions.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg

from analytics_core.database import WriteDatabase
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, Fold, fold
from analytics_rollup.reconcile import CHECKS
from tests.perf.load.servers import bench_servers
from tests.support import stack_places
from tests.support.stack import Database

Stage = Callable[[WriteDatabase, Claim], Awaitable[Fold | None]]

WORKERS = 2
BATCH = 10_000
LIVE, YESTERDAY = "2026-03-10 12:00Z", "2026-03-09 06:00Z"
FIRST_FILLED_DAY, FILLED_DAYS = "2026-02-01", 5
TARGET_EVENTS_PER_S = 50_000

POPULATION = """
CREATE TABLE bench_orgs AS
SELECT
    number, md5('org' || number)::uuid AS org_id, 1 + (hashint4(number) & 7) AS clients,
    5 + abs(hashint4(number * 7)) % 395 AS actors, 1 + abs(hashint4(number * 13)) % 5 AS projects
FROM generate_series(0, 249) AS number
"""
BATCHES = """
INSERT INTO analytics.ingestion_batches (
    stream, partition, first_offset, last_offset, received_count, stored_count, duplicate_count, conflict_count,
    rejected_count, occurred_min, occurred_max, late, first_chunk_at
)
SELECT 'new', 0, 0, 0, %(size)s, %(size)s, 0, 0, 0, since, since + length, false, since + length
FROM generate_series(1, %(batches)s), (SELECT %(since)s::timestamptz AS since, %(length)s::interval AS length) AS span
"""
# Clustered, as after a producer's outage: nine events in ten are of ten organisations and of the last hour.
EVENTS = """
INSERT INTO analytics.usage_events (
    org_id, event_id, occurred_at, batch_id, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id, error_code, project, metadata_json
)
SELECT
    org_id, gen_random_uuid(), occurred_max - (occurred_max - occurred_min) * age, batch_id, 0,
    (random() * 1e9)::bigint, exp(6.7 + 0.8 * random_normal())::integer, (random() * 4000)::integer,
    (random() * 800)::integer, 0, 0, status, 'provider/model-' || floor(40 ^ random()),
    CASE WHEN random() > 0.05 THEN 'user-' || number || '-' || floor(random() * random() * actors) END,
    'key-' || number || '-' || floor(random() * clients),
    CASE status WHEN 'error' THEN 'internal_error' WHEN 'throttled' THEN 'rate_limited' END,
    'project-' || project, format('{"project":"project-%%s","region":"us-east-1","team":"platform"}', project)
FROM (
    SELECT
        batch_id, occurred_min, occurred_max, event,
        CASE WHEN clustered THEN random() / 6 ELSE random() END AS age,
        CASE WHEN clustered THEN 20 + (random() * 9)::integer ELSE floor(250 ^ random())::integer - 1 END AS number,
        CASE WHEN random() < 0.97 THEN 'success' WHEN random() < 0.7 THEN 'error' ELSE 'throttled' END AS status
    FROM (
        SELECT *, %(clustered)s AND random() < 0.9 AS clustered
        FROM analytics.ingestion_batches, generate_series(1, stored_count) AS event
        WHERE stream = 'new'
    ) AS numbered
) AS drawn
INNER JOIN bench_orgs USING (number)
CROSS JOIN LATERAL floor(random() * projects) AS project
ORDER BY batch_id
"""
FILL = """
INSERT INTO analytics.usage_events
SELECT
    org_id, gen_random_uuid(), day + INTERVAL '1 day' * event / %(events)s, -event, 0, 1000000, 800, 1000, 200, 0, 0,
    'success', 'provider/model-1', NULL, NULL, NULL, NULL
FROM (SELECT %(day)s::timestamptz AS day) AS days, generate_series(0, %(events)s - 1) AS event
INNER JOIN bench_orgs ON number = event %% 250
"""
INDEXES = """
SELECT indexdef FROM pg_indexes WHERE schemaname = 'analytics' AND tablename = 'usage_events'
"""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def generate(
    place: Database, batches: int, since: str, length: str, *, size: int = BATCH, clustered: bool = False
) -> None:
    """Committed batches whose events lie in [since, since + length)."""
    with psycopg.connect(place.owner_dsn) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(BATCHES.encode(), {"batches": batches, "since": since, "length": length, "size": size})
        cursor.execute(EVENTS.encode(), {"clustered": clustered})
        cursor.execute(b"UPDATE analytics.ingestion_batches SET stream = 'bench' WHERE stream = 'new'")


def server_seconds(place: Database) -> float:
    """Processor time of the rollup role's sessions so far; they are processes of this machine."""
    with psycopg.connect(place.superuser_dsn) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'analytics_rollup'"
        ).fetchall()
    return sum(processor_seconds(pid) for (pid,) in rows)


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().split()
    return (int(fields[13]) + int(fields[14])) / 100


async def fold_all(database: WriteDatabase, stage: Stage) -> int:
    events = 0
    while done := await stage(database, Claim()):
        events += done.events
    return events


@dataclass
class Cost:
    """What one stage took: seconds by the clock, and of processor time."""

    events: int
    seconds: float
    processor: float

    @property
    def rate(self) -> int:
        return round(self.events / self.seconds)


async def measure(place: Database, database: WriteDatabase, name: str, workers: int = 1) -> tuple[Cost, Cost]:
    """Folds what waits, by model and then by dimension."""
    costs = []
    for stage, stage_name in ((fold, "by model"), (fold_dimensions, "by dimension")):
        spent, started = server_seconds(place), time.perf_counter()
        events = sum(await asyncio.gather(*(fold_all(database, stage) for _ in range(workers))))
        cost = Cost(events, time.perf_counter() - started, server_seconds(place) - spent)
        costs.append(cost)
        say(
            f"{name:<34}{stage_name:<14}{workers} workers {events:>10,} events {cost.seconds:7.2f} s"
            f" {cost.rate:>9,}/s {cost.processor:7.2f} s of processor {cost.processor / events * 1e6:7.2f} µs/event"
        )
    return costs[0], costs[1]


async def backlog(place: Database, database: WriteDatabase, events: int) -> dict[str, float]:
    """How fast all of a backlog is visible by model, and then by everything."""
    generate(place, events // BATCH, LIVE, f"{events / TARGET_EVENTS_PER_S} seconds")
    model, dimensions = await measure(place, database, "backlog", WORKERS)
    everything = Cost(events, model.seconds + dimensions.seconds, model.processor + dimensions.processor)
    say(f"{'':<34}one after the other: {everything.rate:,}/s")
    return {
        "fold_events_per_s": model.rate,
        "fold_dimensions_events_per_s": dimensions.rate,
        "fold_cpu_us_per_event": round(model.processor / events * 1e6, 2),
        "fold_dimensions_cpu_us_per_event": round(dimensions.processor / events * 1e6, 2),
    }


def recount_seconds(place: Database, hours: int) -> float:
    """Processor time of counting the hours that late events touch anew, for every table that is filled from events."""
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute("SET work_mem = '256MB'")
        before = processor_seconds(connection.info.backend_pid)
        for check in CHECKS:
            if not check.is_daily:
                connection.execute(
                    f"SELECT count(*) FROM analytics.{check.recount}(%s, %s::timestamptz + make_interval(hours => %s),"
                    " NULL)".encode(),
                    [YESTERDAY, YESTERDAY, hours],
                )
        return processor_seconds(connection.info.backend_pid) - before


async def late(place: Database, database: WriteDatabase, stored: int, count: int) -> dict[str, float]:
    """How many times more a recount of the touched hours costs than the fold of late events: in the two mixes."""
    generate(place, stored // BATCH, YESTERDAY, "6 hours")
    await measure(place, database, "six hours of yesterday")
    recount = recount_seconds(place, 6)
    ratios = {}
    for key, clustered, name in (
        ("late_cost_ratio", True, "late after an outage"),
        ("late_cost_ratio_worst", False, "late everywhere"),
    ):
        generate(place, 1, YESTERDAY, "6 hours", size=count, clustered=clustered)
        spent = sum(cost.processor for cost in await measure(place, database, name))
        ratios[key] = round(recount / spent, 1)
        say(f"{'recount of these hours instead':<48}{recount:7.2f} s of processor, {recount / spent:.1f} times as much")
    return ratios


async def flatness(place: Database, database: WriteDatabase, rows: int, first_day: int) -> float:
    """Processor time of 200,000 events, the best of three rounds, each on a day of its own."""
    started = time.perf_counter()
    fill_up(place, rows)
    say(f"{rows:,} events stored after {time.perf_counter() - started:.0f} s")
    best = float("inf")
    for number in range(3):
        generate(place, 20, f"2026-03-{first_day + number} 12:00Z", "4 seconds")
        best = min(best, sum(cost.processor for cost in await measure(place, database, f"fresh, {rows:,} stored")))
    return best


def fill_up(place: Database, rows: int) -> None:
    """As many events as asked for, without indexes until they are there."""
    with psycopg.connect(place.owner_dsn) as connection:
        (stored,) = connection.execute("SELECT count(*) FROM analytics.usage_events").fetchone() or (0,)
        indexes = [text for (text,) in connection.execute(INDEXES).fetchall()]
        connection.execute("DROP INDEX analytics.usage_events_identity")
        connection.execute("DROP INDEX analytics.usage_events_batch")
    events = max(0, rows - stored) // FILLED_DAYS
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda day: _fill_day(place, day, events), range(FILLED_DAYS)))
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute("SET maintenance_work_mem = '512MB'")
        for index in indexes:
            connection.execute(index.encode())


def _fill_day(place: Database, day: int, events: int) -> None:
    with psycopg.connect(place.owner_dsn) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(b"SELECT %(day)s::date + %(offset)s", {"day": FIRST_FILLED_DAY, "offset": day})
        (date,) = cursor.fetchone() or (None,)
        cursor.execute(FILL.encode(), {"day": f"{date} 00:00Z", "events": events})


async def bench(place: Database, options: argparse.Namespace) -> dict[str, float]:
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute(POPULATION)
        # The live day is open, as it would be.
        connection.execute("UPDATE analytics.rollup_progress SET daily_through = '2026-03-10'")
    async with WriteDatabase.open(place.dsn("analytics_rollup"), application_name="bench", pool_size=4) as database:
        result = await backlog(place, database, options.backlog)
        result |= await late(place, database, options.late_stored, options.late)
        with psycopg.connect(place.owner_dsn) as connection:
            connection.execute("DELETE FROM analytics.ingestion_batches")
            connection.execute("TRUNCATE analytics.usage_events")
        few = await flatness(place, database, 1_000_000, 20)
        many = await flatness(place, database, options.rows, 23)
    return result | {"flatness_50m_over_1m": round(many / few, 3), "rows": options.rows}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000, help="events stored for the comparison (50,000,000)")
    parser.add_argument("--backlog", type=int, default=2_000_000, help="events of the backlog (2,000,000)")
    parser.add_argument("--late-stored", type=int, default=3_000_000, help="events of the six hours (3,000,000)")
    parser.add_argument("--late", type=int, default=20_000, help="late events (20,000)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    options = parser.parse_args(arguments)
    with stack_places.database(bench_servers()) as place:
        result = asyncio.run(bench(place, options))
    if options.json:
        say(json.dumps(result))


if __name__ == "__main__":
    main()
