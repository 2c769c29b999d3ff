"""How PostgreSQL runs each kind of question: by index, in the chunks of the range alone, never over whole tables."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from analytics_core.access import scope_for_accepted_job
from analytics_core.database import ReadDatabase
from analytics_core.query.plan import plan_series, plan_total
from analytics_core.query.question import Dimension, Question
from analytics_core.query.shape import Order
from analytics_core.query.statements import Position, Statement, series_statement, total_statement
from analytics_core.query.zones import Granularity
from analytics_query_api.queries.series import RELIABILITY, RELIABILITY_POINT, USAGE, USAGE_POINT
from tests.support.stack import Database

ORG = UUID(hashlib.md5(b"org1", usedforsecurity=False).hexdigest())
SCOPE = scope_for_accepted_job(ORG)
END = datetime(2026, 9, 1, tzinfo=UTC)
PROGRESS: dict[str, datetime | None] = {"detail": END - timedelta(days=1), "actor": END - timedelta(days=1)}
FILL = """
INSERT INTO analytics.{table} (org_id, bucket_start, {columns}, invocations, error_count, timeout_count,
    throttled_count, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents, latency_bins,
    latency_counts, first_event_at, last_event_at)
SELECT md5('org' || org)::uuid, bucket, {values}, 1, 0, 0, 0, 1, 1, 0, 0, 1, '{{1}}', '{{1}}', bucket, bucket
FROM generate_series(1, 20) AS org, generate_series('2026-05-01Z'::timestamptz, '2026-09-01Z', '{step}') AS bucket
"""
_DETAIL = ("series, model_id, client_id, project, status, error_code", "md5('s')::uuid, 'm', 'c', '', 'success', ''")
_ACTOR = ("series, actor_id, model_id, status, error_code", "md5('s')::uuid, 'a', 'm', 'success', ''")
SERIES = {
    **dict.fromkeys(("usage_hourly", "usage_daily", "usage_quarter_hourly"), ("model_id", "'m'")),
    **dict.fromkeys(("usage_detail_hourly", "usage_detail_daily"), _DETAIL),
    **dict.fromkeys(("usage_actor_hourly", "usage_actor_daily"), _ACTOR),
}


@pytest.fixture(scope="module")
def place(make_database: Callable[..., Database]) -> Database:
    """Four months of rollups of twenty organisations."""
    made = make_database()
    with psycopg.connect(made.superuser_dsn, autocommit=True) as connection:
        for table, (columns, values) in SERIES.items():
            step = "1 day" if "daily" in table else "2 hours"
            connection.execute(FILL.format(table=table, columns=columns, values=values, step=step).encode())
            connection.execute(f"ANALYZE analytics.{table}".encode())
    return made


def question(granularity: str, zone: str, days: int, *group_by: Dimension) -> Question:
    return Question(END - timedelta(days=days), END, Granularity(granularity), ZoneInfo(zone), group_by=group_by)


def series(asked: Question, columns: tuple[str, ...] = USAGE_POINT, after: Position | None = None) -> Statement:
    plan = plan_series(asked, PROGRESS, after.bucket if after else None)
    return series_statement(SCOPE, asked, plan, columns, after=after, limit=1_001)


def total(asked: Question, columns: tuple[str, ...] = USAGE, order: Order = Order.KEY) -> Statement:
    return total_statement(SCOPE, asked, plan_total(asked, PROGRESS), columns, order=order, limit=101)


MODEL, CLIENT, ACTOR, CODE = Dimension.MODEL, Dimension.CLIENT, Dimension.ACTOR, Dimension.ERROR_CODE
CASES = {
    "hours by model": series(question("hour", "UTC", 7, MODEL)),
    "a later page": series(question("hour", "UTC", 7, MODEL), after=Position(("m",), END - timedelta(days=1))),
    "hours": series(question("hour", "UTC", 7), RELIABILITY_POINT),
    "days": series(question("day", "UTC", 30, MODEL)),
    "days elsewhere": series(question("day", "Europe/Berlin", 7)),
    "days in a zone of half hours": series(question("day", "Asia/Kolkata", 7)),
    "hours in a zone of half hours": series(question("hour", "Asia/Kolkata", 7)),
    "months elsewhere": series(question("month", "America/New_York", 62, MODEL)),
    "hours by client": series(question("hour", "UTC", 7, CLIENT)),
    "days by client": series(question("day", "UTC", 30, CLIENT)),
    "days by actor": series(question("day", "UTC", 30, ACTOR)),
    "totals": total(question("hour", "Asia/Kolkata", 7), RELIABILITY),
    "failures": total(question("hour", "UTC", 30, CLIENT, CODE), order=Order.FAILED),
    "values of a dimension": total(question("hour", "UTC", 30, ACTOR), ("invocations", "last_event_at")),
}


@pytest.mark.parametrize("case", CASES)
async def test_it_reads_by_index_and_only_the_chunks_of_the_range(place: Database, case: str) -> None:
    statement = CASES[case]
    async with (
        ReadDatabase.open(place.dsn("analytics_query_api"), application_name="test", pool_size=1) as database,
        database.read(SCOPE) as session,
    ):
        text = await session.fetch_value(f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.values)

    scans = [node for node in nodes(json.loads(text)[0]["Plan"]) if "hyper" in node.get("Relation Name", "")]
    read = {node["Relation Name"] for node in scans}
    assert read
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    assert all("org_id" in node.get("Index Cond", node.get("Recheck Cond", "")) for node in scans), scans
    assert read <= chunks(place, statement)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def chunks(place: Database, statement: Statement) -> set[str]:
    """Those that overlap what the statement's parts read."""
    times = [value for value in statement.values if isinstance(value, datetime)]
    with psycopg.connect(place.superuser_dsn) as connection:
        rows = connection.execute(
            "SELECT chunk_name FROM timescaledb_information.chunks WHERE range_start < %s AND range_end > %s",
            (max(times), min(times)),
        ).fetchall()
    return {name for (name,) in rows}
