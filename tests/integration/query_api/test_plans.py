"""How PostgreSQL runs each kind of question: by index, in the chunks of the range alone, never over whole tables."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from analytics_core.access import OrgScope, PlatformScope, scope_for_accepted_job, scope_for_own_work
from analytics_core.database import ReadDatabase
from analytics_core.query.plan import plan_series, plan_total
from analytics_core.query.question import Dimension, Question
from analytics_core.query.shape import Form, Order
from analytics_core.query.statements import Position, Statement, series_statement, total_statement
from analytics_core.query.zones import Granularity
from analytics_query_api.queries.series import RELIABILITY, RELIABILITY_POINT, USAGE, USAGE_POINT
from tests.support.stack import Database

ORGS = [UUID(hashlib.md5(b"org%d" % number, usedforsecurity=False).hexdigest()) for number in range(1, 21)]
SCOPE = scope_for_accepted_job(ORGS[0])
PLATFORM = scope_for_own_work()
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


@dataclass(frozen=True)
class Case:
    statement: Statement
    scope: OrgScope | PlatformScope = SCOPE


def series(
    asked: Question,
    columns: tuple[str, ...] = USAGE_POINT,
    after: Position | None = None,
    orgs: Sequence[UUID] | None = None,
    form: Form | None = None,
) -> Case:
    plan = plan_series(asked, PROGRESS, after.bucket if after else None)
    form = form or (Form.ROWS if "bins" in columns else Form.COLUMNS)
    statement = series_statement(orgs or SCOPE, asked, plan, columns, after=after, limit=1_001, form=form)
    return Case(statement, PLATFORM if orgs else SCOPE)


def total(
    asked: Question,
    columns: tuple[str, ...] = USAGE,
    order: Order = Order.KEY,
    orgs: Sequence[UUID] | None = None,
) -> Case:
    statement = total_statement(orgs or SCOPE, asked, plan_total(asked, PROGRESS), columns, order=order, limit=101)
    return Case(statement, PLATFORM if orgs else SCOPE)


ORG, MODEL, CLIENT, ACTOR, CODE = (
    Dimension.ORG,
    Dimension.MODEL,
    Dimension.CLIENT,
    Dimension.ACTOR,
    Dimension.ERROR_CODE,
)
CASES = {
    "hours by model": series(question("hour", "UTC", 7, MODEL)),
    "a later page": series(question("hour", "UTC", 7, MODEL), after=Position(("m",), END - timedelta(days=1))),
    "hours": series(question("hour", "UTC", 7), RELIABILITY_POINT),
    "days": series(question("day", "UTC", 30, MODEL)),
    "whether days have changed": series(question("day", "UTC", 30, MODEL), form=Form.DAYS),
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
    "hours of all organisations": series(question("hour", "UTC", 7, ORG), orgs=ORGS),
    "a later page of all organisations": series(
        question("day", "UTC", 30, ORG), after=Position((str(ORGS[3]),), END - timedelta(days=9)), orgs=ORGS
    ),
    "days of all organisations by client, elsewhere": series(
        question("day", "Europe/Berlin", 7, ORG, CLIENT), orgs=ORGS
    ),
    "months of some organisations by model": series(question("month", "UTC", 62, ORG, MODEL), orgs=ORGS[:3]),
    "totals of all organisations": total(question("hour", "UTC", 7), orgs=ORGS),
}


@pytest.mark.parametrize("case", CASES)
async def test_it_reads_by_index_and_only_the_chunks_of_the_range(place: Database, case: str) -> None:
    statement, scope = CASES[case].statement, CASES[case].scope
    async with (
        ReadDatabase.open(place.dsn("analytics_query_api"), application_name="test", pool_size=1) as database,
        database.read(scope) as session,
    ):
        text = await session.fetch_value(f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.values)

    scans = [node for node in nodes(json.loads(text)[0]["Plan"]) if "hyper" in node.get("Relation Name", "")]
    needed = chunks(place, statement)
    assert scans
    assert {node["Relation Name"] for node in scans} <= needed.keys()
    for node in scans:
        if node["Node Type"] == "Seq Scan" and scope is PLATFORM:
            # Everybody's rows of most of a chunk's time are most of its rows: no index is quicker.
            assert needed[node["Relation Name"]] > 0.5, node
        else:
            assert node["Node Type"] in {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
            assert "org_id" in node.get("Index Cond", node.get("Recheck Cond", "")), node


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def chunks(place: Database, statement: Statement) -> dict[str, float]:
    """Those that overlap what the statement's parts read, and how much of each one's time is read."""
    times = [value for value in statement.values if isinstance(value, datetime)]
    first, last = min(times), max(times)
    with psycopg.connect(place.superuser_dsn) as connection:
        rows = connection.execute(
            "SELECT chunk_name, range_start, range_end FROM timescaledb_information.chunks"
            " WHERE range_start < %s AND range_end > %s",
            (last, first),
        ).fetchall()
    return {name: (min(end, last) - max(start, first)) / (end - start) for name, start, end in rows}
