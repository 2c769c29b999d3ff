"""A rollup that dies in the middle, again and again, ends with the same numbers."""

import random
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import psycopg

from analytics_core.testing.builders import NOON
from tests.support.batches import in_batches, random_events, recount, rollup, store
from tests.support.polling import eventually
from tests.support.processes import ServiceProcess, ServiceProcesses
from tests.support.stack import Database

KILLS = 4
BATCHES = 2_000
PATIENCE_S = 120


def folded_batches(place: Database) -> int:
    with psycopg.connect(place.owner_dsn) as connection:
        row = connection.execute("SELECT count(folded_at) FROM analytics.ingestion_batches").fetchone()
    assert row is not None
    return int(row[0])


def more_than(place: Database, count: int) -> bool:
    return folded_batches(place) > count


def slow_down(place: Database) -> None:
    """Every mark takes 50 ms, between the numbers and the commit: a kill hits a fold in the middle."""
    with psycopg.connect(place.superuser_dsn) as connection:
        connection.execute(
            "CREATE FUNCTION analytics.dawdle() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END';"
            " CREATE TRIGGER dawdle AFTER UPDATE ON analytics.ingestion_batches"
            " FOR EACH STATEMENT EXECUTE FUNCTION analytics.dawdle()"
        )


def sessions_in_a_fold(place: Database) -> list[int]:
    with psycopg.connect(place.superuser_dsn) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'analytics_rollup'"
            " AND state <> 'idle' AND xact_start IS NOT NULL AND backend_xid IS NOT NULL"
        ).fetchall()
    return [pid for (pid,) in rows]


def test_kills_in_the_middle_change_nothing(
    make_database: Callable[..., Database], service_processes: ServiceProcesses, free_port: Callable[[], int]
) -> None:
    """SIGKILL of the process, and the end of its sessions by the server, each while a fold has written something."""
    place = make_database()
    slow_down(place)
    events = random_events(random.Random(5), 10 * BATCHES, NOON - timedelta(hours=2), timedelta(hours=4), models=8)
    store(place.dsn("analytics_ingest"), in_batches(events, 10))

    def start() -> ServiceProcess:
        env = {
            "ENVIRONMENT": "test",
            "DATABASE_URL": place.dsn("analytics_rollup"),
            "RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:1/",
            "HTTP_PORT": str(free_port()),
        }
        return service_processes.start("analytics-rollup", env, wait=False)

    process = start()
    hit = 0
    for kill in range(KILLS):
        eventually(partial(more_than, place, folded_batches(place)), PATIENCE_S)
        eventually(lambda: sessions_in_a_fold(place), PATIENCE_S)
        if kill % 2:
            with psycopg.connect(place.superuser_dsn) as connection:
                for pid in sessions_in_a_fold(place):
                    connection.execute("SELECT pg_terminate_backend(%s)", [pid])
                    hit += 1
        else:
            process.kill()
            process = start()
            hit += 1
    unfinished = folded_batches(place) < BATCHES
    eventually(lambda: folded_batches(place) == BATCHES, PATIENCE_S)

    assert unfinished, "everything was folded before the last kill: nothing was tested"
    assert hit >= KILLS
    assert rollup(place.owner_dsn, "usage_hourly") == recount(events)
    assert rollup(place.owner_dsn, "usage_daily") == recount(events, days=True)
