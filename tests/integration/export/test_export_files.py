"""Raw events in, files out: every format and template against the events, as finance would check it."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import duckdb
import pandas
import polars
import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from tests.integration.export.finance import FORMATS, Finance, Row, read_parquet, rows_of
from tests.integration.export.running import APRIL, MARCH, ExportApi, read_csv
from tests.support.processes import ServiceProcesses


@pytest.mark.parametrize(
    "question",
    [
        {"granularity": "events"},
        {"granularity": "daily", "groupBy": ["client", "model"]},
        {"template": "finance-summary"},
        {"template": "chargeback"},
        {"template": "incident"},
    ],
    ids=lambda question: "-".join(map(str, question.values())),
)
def test_every_format_has_the_same_rows_and_they_add_up_to_the_events(finance: Finance, question: Row) -> None:
    """To the micro-cent, and to the same totals in the answer and in the manifest."""
    files = {}
    for name in FORMATS:
        job = finance.api.finished(**question, format=name)
        files[name] = rows_of(finance.api.download(job).content, name)
        assert job["rowCount"] == len(files[name])
        assert Decimal(job["totals"]["costEstimateCents"]) == finance.cents()
        assert job["totals"]["events"] == len(finance.events)

    added = sum(Decimal(row["cost_estimate_cents"]) for row in files["csv"])
    # An instant on a whole second, and the dates of Parquet, are told apart by their spelling alone.
    spelled = {name: [normal(row) for row in rows] for name, rows in files.items()}

    assert added == finance.cents()
    assert spelled["csv"] == spelled["csv.gz"] == spelled["jsonl"] == spelled["parquet"]


def normal(row: Row) -> Row:
    return {name: value.replace(".000000Z", "Z") if isinstance(value, str) else value for name, value in row.items()}


def test_parquet_opens_in_the_tools_that_people_use_with_exact_types(finance: Finance, tmp_path: Path) -> None:
    """Decimals are decimal128, times are UTC, columns are zstd."""
    file = tmp_path / "usage.parquet"
    file.write_bytes(finance.api.download(finance.api.finished(granularity="hourly", format="parquet")).content)
    schema, metadata = parquet.read_schema(file), parquet.read_metadata(file)

    with duckdb.connect() as connection:
        counted = connection.execute(f"SELECT sum(cost_estimate_cents), sum(request_count) FROM '{file}'").fetchall()
    by_pandas = pandas.read_parquet(file, dtype_backend="pyarrow")
    by_polars = polars.read_parquet(file)

    assert schema.field("cost_estimate_cents").type == pyarrow.decimal128(38, 6)
    assert schema.field("bucket_start").type == pyarrow.timestamp("us", tz="UTC")
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert counted == [(finance.cents(), len(finance.events))]
    assert by_pandas["cost_estimate_cents"].sum() == finance.cents()
    assert by_polars["cost_estimate_cents"].sum() == finance.cents()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("granularity", ["events", "hourly"])
def test_nothing_is_a_valid_file_of_no_rows(finance: Finance, name: str, granularity: str) -> None:
    """With its columns, where the format has a place for them."""
    nobody = ExportApi(finance.api.process, uuid4())
    job = nobody.finished(granularity=granularity, format=name)
    content = nobody.download(job).content

    assert (job["rowCount"], job["totals"]["events"]) == (0, 0)
    assert rows_of(content, name) == []
    if name == "parquet":
        assert "cost_estimate_cents" in read_parquet(content).column_names
    elif name != "jsonl":
        assert b"cost_estimate_cents" in (gzip.decompress(content) if name == "csv.gz" else content)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "America/New_York"])
def test_days_of_a_time_zone_have_the_events_that_its_clocks_put_there(finance: Finance, zone: str) -> None:
    """March has a day of 23 hours in two of them; the labels carry the offset."""
    local = ZoneInfo(zone)
    expected: dict[str, int] = {}
    start = datetime(2026, 3, 2, tzinfo=local)
    end = datetime(2026, 3, 31, tzinfo=local)
    for event in finance.events:
        if start <= event.occurred_at < end:
            midnight = event.occurred_at.astimezone(local).replace(hour=0, minute=0, second=0, microsecond=0)
            expected[midnight.isoformat()] = expected.get(midnight.isoformat(), 0) + event.cost_microcents

    job = finance.api.finished(start=start, end=end, granularity="daily", timezone=zone, groupBy=[])
    rows = rows_of(finance.api.download(job).content, "csv")

    assert {row["bucket_start"]: int(Decimal(row["cost_estimate_cents"]) * 10**6) for row in rows} == expected


def test_filters_are_those_of_the_usage_api(finance: Finance) -> None:
    """All conditions hold; events and rollups agree on them."""
    wanted = [each for each in finance.events if each.status == "error" and each.client_id == "key-1"]
    filters = {"status": ["error"], "clientId": ["key-1"]}

    totals = [finance.api.finished(granularity=name, filters=filters)["totals"] for name in ("events", "daily")]

    assert wanted
    assert totals[0] == totals[1]
    assert totals[0]["events"] == len(wanted)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_question_has_the_same_bytes_until_late_events_make_a_new_revision(
    finance: Finance, name: str
) -> None:
    """The manifest says which file a newer one supersedes; both stay where they are."""
    question: Row = {"granularity": "events", "format": name}
    first, again = finance.api.finished(**question), finance.api.finished(**question)
    finance.add([replace(finance.events[0], occurred_at=MARCH + timedelta(hours=5))])
    later = finance.api.finished(**question)
    manifest = finance.api.request("GET", f"/{later['jobId']}/manifest").json()

    assert (first["revision"], again["revision"], later["revision"]) == (1, 1, 2)
    assert first["checksum"] == again["checksum"] != later["checksum"]
    assert manifest["supersedes"]["sha256"] == first["checksum"]
    assert manifest["object"]["sha256"] == later["checksum"]
    assert finance.api.download(first).content == finance.api.download(again).content


def test_another_process_writes_the_same_bytes(finance: Finance, free_port: Callable[[], int]) -> None:
    """Neither the time nor the process that wrote a file is in it: a restart makes no new revision."""
    questions: list[Row] = [{"granularity": each, "format": name} for name in FORMATS for each in ("events", "daily")]
    before = [finance.api.finished(**question)["checksum"] for question in questions]

    with ServiceProcesses() as processes:
        env = finance.env | {"HTTP_PORT": str(free_port())}
        second = ExportApi(processes.start("analytics-export", env), finance.api.org_id)
        after = [second.finished(**question) for question in questions]

    assert [job["checksum"] for job in after] == before
    assert {job["revision"] for job in after} == {1}


NASTY_CELLS = {
    "model_id": "=1+1", "client_id": "+1", "actor_id": "-1", "error_code": "@x", "project": "\t=1", "team": "\r=1",
    "region": "\uff1d1", "endpoint": "'=1", "operation": "\n=1",
}  # fmt: skip


@pytest.mark.parametrize(
    "question",
    [{"granularity": "events"}, {"template": "incident"}, {"template": "chargeback"}],
    ids=["full", "incident", "chargeback"],
)
def test_no_text_of_any_column_runs_in_a_spreadsheet(finance: Finance, question: Row) -> None:
    """Every text comes from a producer; an apostrophe in front disarms it, and without it the text is what it was."""
    metadata = {name: NASTY_CELLS[name] for name in ("project", "team", "region", "endpoint", "operation")}
    with psycopg.connect(finance.database.owner_dsn) as connection:
        connection.execute(
            "UPDATE analytics.usage_events SET model_id = %s, client_id = %s, actor_id = %s, error_code = %s,"
            " status = 'error', metadata = NULL, project = %s, metadata_json = %s WHERE org_id = %s",
            (*list(NASTY_CELLS.values())[:4], metadata["project"], json.dumps(metadata), finance.api.org_id),
        )
    listed = finance.api.send("GET", "/exports/templates", None).json()["items"]
    wanted = next(each for each in listed if each["name"] == question.get("template", "full"))
    columns = wanted["eventColumns"] or wanted["columns"]
    texts = {each["name"] for each in columns if each["type"] == "text"} - {"status"}

    rows = read_csv(finance.api.download(finance.api.finished(**question)).content)

    assert rows
    assert texts >= {"client_id", "project", "team"}
    for row in rows:
        assert {name: row[name] for name in texts} == {name: f"'{NASTY_CELLS[name]}" for name in texts}


@pytest.mark.parametrize(
    ("fields", "field", "named"),
    [
        ({"template": "nope"}, "template", "finance-summary"),
        ({"format": "xlsx"}, "format", "parquet"),
        ({"timezone": "Mars/Base"}, "timezone", "Europe/Berlin"),
        ({"granularity": "weekly"}, "granularity", "monthly"),
        ({"template": "incident", "granularity": "daily"}, "granularity", "events"),
        ({"groupBy": ["colour"]}, "groupBy[0]", "project"),
        ({"filters": {"status": ["fine"]}}, "filters.status[0]", "throttled"),
        ({"template": "chargeback", "groupBy": ["model"]}, "groupBy", "team"),
        ({"granularity": "hourly", "groupBy": ["actor", "client"]}, "groupBy", "at most 7 days"),
        ({"models": ["a"], "filters": {"modelId": ["b"]}}, "filters.modelId", "models"),
    ],
)
def test_a_wrong_field_is_named_with_what_there_is(finance: Finance, fields: Row, field: str, named: str) -> None:
    """So that nobody has to look it up."""
    body = {"timeRange": {"start": MARCH.isoformat(), "end": APRIL.isoformat()}, **fields}

    answer = finance.api.request("POST", json=body)

    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert named in error["detail"]


def test_the_templates_are_listed_with_their_columns(finance: Finance) -> None:
    """And the list is what the files have."""
    templates = finance.api.send("GET", "/exports/templates", None).json()["items"]
    header = finance.api.download(finance.api.finished(template="finance-summary")).text.splitlines()[0]

    listed = {template["name"]: [column["name"] for column in template["columns"]] for template in templates}

    assert list(listed) == ["full", "finance-summary", "chargeback", "incident"]
    assert listed["finance-summary"] == header.split(",")
