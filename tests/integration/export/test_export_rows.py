"""The file against the rollups that it was made of, to the micro-cent, read as a strict CSV reader does."""

import hashlib
import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.integration.export.running import APRIL, COUNTS, MARCH, Bucket, ExportApi, read_csv, store_usage, total
from tests.support.stack import Database

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COLUMN_OF = {
    "invocations": "request_count",
    "error_count": "error_count",
    "timeout_count": "timeout_count",
    "throttled_count": "throttled_count",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_input_tokens": "cached_input_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
NASTY_NAMES = [
    "plain",
    'quo"ted "twice"',
    "comma, and; semicolon",
    "line\nfeed",
    "carriage\r\nreturn",
    "=SUM(A1:A9)",
    "+1",
    "-1",
    "@cmd",
    "\ttab",
    "\rreturn",
    "\nfeed",
    "\N{FULLWIDTH EQUALS SIGN}1",
    "\N{FULLWIDTH PLUS SIGN}1",
    "\N{FULLWIDTH HYPHEN-MINUS}1",
    "\N{FULLWIDTH COMMERCIAL AT}1",
    "'already",
    "'=both",
    "модель/語/🦜",
    " space ",
    "\\.",
    "\\N",
    "NULL",
    "a" * 200,
]


def usage(org_id: UUID, first: datetime, width: timedelta, buckets: int, models: int = 3) -> list[Bucket]:
    """Rows whose every number is another one, with sub-cent costs."""
    return [
        Bucket(
            org_id,
            first + n * width,
            f"model-{m}",
            (10_000 + n * 7 + m, n % 5, m, 1, 10**6 * n + m, 1_000 + n, n, m, 10**9 * n + 123_457 * m + 1),
        )
        for n in range(buckets)
        for m in range(models)
    ]


def stored_sums(database: Database, table: str, org_id: UUID, start: datetime, end: datetime) -> dict[str, Decimal]:
    """The sums of a rollup table over a range, by the names of the table."""
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in COUNTS)
    where = "org_id = %s AND bucket_start >= %s AND bucket_start < %s"
    with psycopg.connect(database.owner_dsn) as connection:
        row = connection.execute(f"SELECT {sums} FROM analytics.{table} WHERE {where}", (org_id, start, end)).fetchone()
    assert row is not None
    return dict(zip(COUNTS, row, strict=True))


def assert_sums_equal(rows: list[dict[str, str]], stored: dict[str, Decimal]) -> None:
    assert {name: total(rows, COLUMN_OF[name]) for name in COLUMN_OF} == {name: stored[name] for name in COLUMN_OF}
    assert total(rows, "cost_estimate_cents") == stored["cost_microcents"] / Decimal(1_000_000)


@pytest.mark.parametrize(
    ("granularity", "table", "width", "buckets"),
    [("hourly", "usage_hourly", HOUR, 31 * 24), ("daily", "usage_daily", DAY, 31)],
)
def test_the_file_sums_up_to_the_rollup(
    exports: ExportApi, database: Database, granularity: str, table: str, width: timedelta, buckets: int
) -> None:
    """What finance adds up is what the API shows; rows right outside the range and of other organisations stay out."""
    store_usage(database, table, usage(exports.org_id, MARCH - 2 * width, width, buckets + 4))
    store_usage(database, table, usage(uuid4(), MARCH, width, 2))

    job = exports.finished(granularity=granularity)
    rows = read_csv(exports.download(job).content)

    assert len(rows) == job["rowCount"] == buckets * 3
    assert_sums_equal(rows, stored_sums(database, table, exports.org_id, MARCH, APRIL))
    assert {row["organization_id"] for row in rows} == {str(exports.org_id)}
    assert [(row["bucket_start"], row["model_id"]) for row in rows] == [
        (f"{MARCH + n * width:%Y-%m-%dT%H:%M:%SZ}", f"model-{m}") for n in range(buckets) for m in range(3)
    ]


def test_a_month_that_starts_in_the_range_is_whole(exports: ExportApi, database: Database) -> None:
    """As in the usage API; February began before the range and stays out."""
    store_usage(database, "usage_daily", usage(exports.org_id, MARCH - DAY, DAY, 70, models=2))
    end = APRIL + timedelta(days=30)

    job = exports.finished(start=MARCH - DAY, end=APRIL + timedelta(days=10), granularity="monthly")
    rows = read_csv(exports.download(job).content)

    assert [(row["bucket_start"], row["model_id"]) for row in rows] == [
        ("2026-03-01T00:00:00Z", "model-0"),
        ("2026-03-01T00:00:00Z", "model-1"),
        ("2026-04-01T00:00:00Z", "model-0"),
        ("2026-04-01T00:00:00Z", "model-1"),
    ]
    assert_sums_equal(rows[:2], stored_sums(database, "usage_daily", exports.org_id, MARCH, APRIL))
    assert_sums_equal(rows[2:], stored_sums(database, "usage_daily", exports.org_id, APRIL, end))


def test_the_largest_numbers_stay_exact(exports: ExportApi, database: Database) -> None:
    """A column of a day may be as large as its type."""
    largest = (2**63 - 1, 0, 0, 0, 2**62, 2**62 - 1, 0, 0, 2**63 - 1)
    store_usage(database, "usage_daily", [Bucket(exports.org_id, MARCH + n * DAY, "m", largest) for n in range(1)])

    (row,) = read_csv(exports.download(exports.finished(granularity="monthly")).content)

    assert row["request_count"] == str(2**63 - 1)
    assert row["cost_estimate_cents"] == str(Decimal(2**63 - 1).scaleb(-6))


def test_a_bucket_that_began_before_the_range_is_left_out(exports: ExportApi, database: Database) -> None:
    """As in the usage API: 10:30 begins with the bucket of 11:00, and 12:30 still has the one of 12:00."""
    store_usage(database, "usage_hourly", usage(exports.org_id, MARCH, HOUR, 24, models=1))

    job = exports.finished(
        start=MARCH + timedelta(hours=10, minutes=30), end=MARCH + timedelta(hours=12, minutes=30), granularity="hourly"
    )

    assert [row["bucket_start"] for row in read_csv(exports.download(job).content)] == [
        "2026-03-01T11:00:00Z",
        "2026-03-01T12:00:00Z",
    ]


@pytest.mark.parametrize("granularity", ["hourly", "daily", "monthly"])
def test_only_the_models_asked_for_are_written(exports: ExportApi, database: Database, granularity: str) -> None:
    """Nothing else gets in."""
    for table in ("usage_hourly", "usage_daily"):
        store_usage(database, table, usage(exports.org_id, MARCH, DAY, 3))

    job = exports.finished(granularity=granularity, models=["model-2", "model-0"])

    assert job["models"] == ["model-2", "model-0"]
    assert {row["model_id"] for row in read_csv(exports.download(job).content)} == {"model-0", "model-2"}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"models": ["model-1", "model-1", "modle-2"]}, "models[2]"),
        ({"filters": {"modelId": ["model-1", "modle-2"]}}, "filters.modelId[1]"),
    ],
)
def test_a_model_that_was_never_used_is_named_with_those_that_were(
    exports: ExportApi, database: Database, asked: dict[str, Any], field: str
) -> None:
    """A misspelt model would give an empty file that looks right."""
    store_usage(database, "usage_daily", usage(exports.org_id, MARCH, DAY, 1))
    body = {"timeRange": {"start": MARCH.isoformat(), "end": APRIL.isoformat()}, **asked}

    answer = exports.request("POST", json=body)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert "'modle-2'" in error["detail"]
    assert "model-0, model-1, model-2" in error["detail"]


@pytest.mark.parametrize("granularity", ["hourly", "daily", "monthly"])
def test_no_usage_is_a_header_alone(exports: ExportApi, granularity: str) -> None:
    """An empty file would not say whether something went wrong."""
    job = exports.finished(granularity=granularity)
    content = exports.download(job).content

    assert job["rowCount"] == 0
    assert content.count(b"\r\n") == 1
    assert content.startswith(b"bucket_start,")
    assert job["checksum"] == hashlib.sha256(content).hexdigest()


def test_every_name_comes_back_and_none_is_a_formula(exports: ExportApi, database: Database) -> None:
    """A model's name is whatever a producer sent; the file must neither break nor run in a spreadsheet."""
    store_usage(database, "usage_daily", [Bucket(exports.org_id, MARCH, name) for name in NASTY_NAMES])

    content = exports.download(exports.finished()).content
    cells = [row["model_id"] for row in read_csv(content)]

    assert sorted(cell.removeprefix("'") for cell in cells) == sorted(NASTY_NAMES)
    assert [cell for cell in cells if re.match(r"[=+\-@\t\r\n＝＋－＠]", cell)] == []  # noqa: RUF001
    assert len(content.decode().split("\r\n")) == len(NASTY_NAMES) + 2 + sum("\r\n" in name for name in NASTY_NAMES)


def test_a_nasty_name_can_be_asked_for(exports: ExportApi, database: Database) -> None:
    """COPY takes no parameters, so a filter reaches it as text: it must be quoted."""
    names = [*NASTY_NAMES, "'; DROP TABLE analytics.usage_daily; --", '}{"\\']
    store_usage(database, "usage_daily", [Bucket(exports.org_id, MARCH, name) for name in names])
    wanted = [name for name in names if name != "plain"]

    job = exports.finished(models=wanted)

    assert job["rowCount"] == len(names) - 1


def test_costs_have_six_decimals_and_no_exponent(exports: ExportApi, database: Database) -> None:
    """One micro-cent must not become 1E-6, and nothing may be rounded."""
    costs = [0, 1, 999_999, 1_000_000, 123_456_789, 9_007_199_254_740_993]
    plain = Bucket(exports.org_id, MARCH, "m")
    rows = [replace(plain, model_id=f"m{n}", counts=(*plain.counts[:-1], cost)) for n, cost in enumerate(costs)]
    store_usage(database, "usage_daily", rows)

    written = read_csv(exports.download(exports.finished()).content)

    assert [row["cost_estimate_cents"] for row in written] == [
        "0.000000",
        "0.000001",
        "0.999999",
        "1.000000",
        "123.456789",
        "9007199254.740993",
    ]


def test_counts_by_status_add_up_and_tokens_do(exports: ExportApi, database: Database) -> None:
    """The two columns that the rollup does not have."""
    store_usage(database, "usage_daily", [Bucket(exports.org_id, MARCH, "m")])

    (row,) = read_csv(exports.download(exports.finished()).content)

    assert (row["success_count"], row["tokens_total"]) == ("4", "1500")
