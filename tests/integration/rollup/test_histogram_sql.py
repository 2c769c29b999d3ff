"""The SQL histogram functions are the Python ones."""

import random

import psycopg
import pytest

from analytics_core.histogram import LATENCY_MS_MAX, latency_bin, merge
from tests.support.stack import Database

# Every power of two with its neighbours: where a bin's width changes.
EDGES = sorted({max(0, min(LATENCY_MS_MAX, 2**power + offset)) for power in range(32) for offset in (-1, 0, 1)})


def test_both_put_a_latency_into_the_same_bin(database: Database) -> None:
    """rollup bins in SQL, query-api reads in Python."""
    rng = random.Random(1)
    values = [*EDGES, *range(5_000), *(rng.randint(0, LATENCY_MS_MAX) for _ in range(5_000))]
    with psycopg.connect(database.owner_dsn) as connection:
        rows = connection.execute("SELECT analytics.latency_bin(value) FROM unnest(%s::int[]) AS value", [values])

        assert [index for (index,) in rows] == [latency_bin(value) for value in values]


def test_the_bin_is_inlined(database: Database) -> None:
    """As a call it would take six times as long, more than everything else in the fold."""
    with psycopg.connect(database.owner_dsn) as connection:
        plan = connection.execute(
            "EXPLAIN (VERBOSE) SELECT analytics.latency_bin(value) FROM generate_series(1, 10) AS value"
        ).fetchall()

    assert "width_bucket" in str(plan)
    assert "latency_bin(" not in str(plan)


@pytest.mark.parametrize("seed", range(20))
def test_appending_is_adding(database: Database, seed: int) -> None:
    """Whether it puts entries behind the others or merges them."""
    rng = random.Random(seed)
    total: dict[int, int] = {}
    bins: list[int] = []
    counts: list[int] = []
    merged = 0
    with psycopg.connect(database.owner_dsn) as connection:
        for _ in range(30):
            new = {rng.randint(0, 200): rng.randint(1, 2**40) for _ in range(rng.randint(1, 25))}
            total = merge([(total, total.values()), (new, new.values())])
            row = connection.execute(
                "SELECT * FROM analytics.histogram_append(%s::smallint[], %s::bigint[], %s::smallint,"
                " %s::smallint[], %s::bigint[])",
                [bins, counts, merged, list(new), list(new.values())],
            ).fetchone()
            assert row is not None
            bins, counts, merged = row

            assert merge([(bins, counts)]) == total
            assert bins[:merged] == sorted({*bins[:merged]})
            assert len(bins) <= max(2 * merged + 32, len(total))
