"""Rows in usage_events without the services: the bare COPY to compare with, and tables filled to a size."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import cycle

import psycopg

from analytics_ingest.event_rows import COLUMNS, AcceptedTimes, copy_of, plain_row
from analytics_ingest.limits import BATCH_EVENTS_MAX
from tests.perf.load.publisher import frames, templates
from tests.support.stack import Database

BARE_TABLE = """
CREATE TABLE analytics.bare_events (LIKE analytics.usage_events INCLUDING ALL);
SELECT public.create_hypertable(
    'analytics.bare_events', public.by_range('occurred_at', INTERVAL '1 day'), create_default_indexes => false
);
"""
# Rows of one page each, through all of the server's memory for pages and into the log.
WEAR_IN = """
CREATE TABLE public.wear_in (page text STORAGE PLAIN);
INSERT INTO public.wear_in
SELECT repeat('x', 8000)
FROM generate_series(1, (SELECT setting::bigint FROM pg_settings WHERE name = 'shared_buffers'));
DROP TABLE public.wear_in;
CHECKPOINT;
"""
FILL_WORKERS = 2
FILL_STEP = 250_000
# The same organisations as the publisher's, so that the index is as dense where the next events go.
FILL = """
INSERT INTO analytics.usage_events (
    org_id, event_id, occurred_at, batch_id, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id
)
SELECT
    (%(orgs)s::uuid[])[1 + number %% cardinality(%(orgs)s::uuid[])], gen_random_uuid(),
    %(start)s::timestamptz + (%(end)s::timestamptz - %(start)s::timestamptz) * random(), -1 - number / 10000, 55725,
    2922, 1891, 456, 0, 0, 'success', 'gpt-4o-mini', 'user-007-0085', 'key-007-0'
FROM generate_series(1, %(rows)s) AS number
"""


def wear_in(database: Database) -> float:
    """Bring a new server to where one is after its first quarter of an hour; the seconds that it took.

    Until then the system clears every page of its memory when it is first used, and the server writes each of its log
    files full of zeros before using it: 4 % of all processor time at 50,000 events/s, and none later on.
    """
    started = time.monotonic()
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        for statement in WEAR_IN.split(";"):
            connection.execute(statement.encode())
    return time.monotonic() - started


def bare_copy_rate(database: Database, rows: int) -> float:
    """Rows/s of COPY into an identical table with identical indexes, one connection, batches as ingest makes them."""
    copies = [copy_of(number, batch) for number, batch in enumerate(_batches(rows))]
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute(BARE_TABLE.encode())
        connection.execute("SET synchronous_commit = off")
        statement = f"COPY analytics.bare_events ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)".encode()
        started = time.monotonic()
        for data in copies:
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(data)
        seconds = time.monotonic() - started
        connection.execute("DROP TABLE analytics.bare_events")
    return len(copies) * BATCH_EVENTS_MAX / seconds


def _batches(rows: int) -> list[list[bytes]]:
    """The publisher's events as ingest writes them."""
    again = cycle(frames(templates()))
    times = AcceptedTimes.at(datetime.now(UTC), timedelta(days=400))
    batches: list[list[bytes]] = []
    for _ in range(max(1, rows // BATCH_EVENTS_MAX)):
        batch: list[bytes] = []
        while len(batch) < BATCH_EVENTS_MAX:
            content = next(again).filled(1, time.time_ns() // 1000)
            batch += [row for body in _bodies(content) if (row := plain_row(body, times))]
        batches.append(batch)
    return batches


def _bodies(content: bytes) -> list[bytes]:
    """What a reader gets of the messages of a Publish command."""
    bodies, position = [], 4 + 9
    while position < len(content):
        length = int.from_bytes(content[position + 8 : position + 12], "big")
        message = content[position + 12 : position + 12 + length]
        bodies.append(message[message.index(b"{") :])
        position += 12 + length
    return bodies


def fill_recent(database: Database, rows: int) -> None:
    """So many rows in yesterday and today until now, UTC, and no others: where events and their namesakes are."""
    start, now = _recent(database)
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("SELECT public.drop_chunks('analytics.usage_events', newer_than => %s)", [start])
    _fill(database, rows, start, now)


def fill_older(database: Database, rows: int, already: int, recent: int) -> float:
    """Rows before yesterday and before those there are `already`, as many a day as of `recent` ones; the seconds."""
    start, now = _recent(database)
    started = time.monotonic()
    end = start - already / recent * (now - start)
    _fill(database, rows, end - rows / recent * (now - start), end)
    return time.monotonic() - started


def _recent(database: Database) -> tuple[datetime, datetime]:
    with psycopg.connect(database.owner_dsn) as connection:
        row = connection.execute("SELECT date_trunc('day', now(), 'UTC') - interval '1 day', now()").fetchone()
    assert row
    return row[0], row[1]


def _fill(database: Database, rows: int, start: datetime, end: datetime) -> None:
    orgs = sorted({each.org for each in templates()})
    steps = [min(FILL_STEP, rows - done) for done in range(0, rows, FILL_STEP)]

    def insert(count: int) -> None:
        with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            connection.execute(FILL.encode(), {"orgs": orgs, "start": start, "end": end, "rows": count})

    with ThreadPoolExecutor(FILL_WORKERS) as workers:
        list(workers.map(insert, steps))
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) analytics.usage_events")
        connection.execute("CHECKPOINT")
