"""Raw events in, files out: every format, template and proof against the events, as finance would check it."""

import asyncio
import csv
import gzip
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import duckdb
import jsonschema
import pandas
import polars
import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from analytics_core.database import WriteDatabase
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, fold
from tests.integration.export.running import APRIL, MARCH, ExportApi, environment
from tests.support.batches import StoredEvent, in_batches, random_events, store
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

CONTRACTS = Path(__file__).parents[3] / "contracts/exports"
FORMATS = ("csv", "csv.gz", "jsonl", "parquet")
NASTY = ("=1+1", "+a", "@cmd", "'quoted", 'a "b", c', "line\nfeed", "語/🦜")
Row = dict[str, Any]


class Finance:
    """One organisation with a March of events, and the service that exports them."""

    def __init__(self, api: ExportApi, database: Database, env: dict[str, str], events: list[StoredEvent]) -> None:
        self.api, self.database, self.env, self.events = api, database, env, events

    def add(self, events: list[StoredEvent]) -> None:
        """Store the events and fold them, as ingest and rollup do."""
        store(self.database.dsn("analytics_ingest"), in_batches(events, 500))
        asyncio.run(fold_everything(self.database))
        self.events += events

    def cents(self) -> Decimal:
        return Decimal(sum(event.cost_microcents for event in self.events)).scaleb(-6)

    def verify(self, job: Row) -> Row:
        answer = self.api.request("POST", f"/{job['jobId']}/verify")
        assert answer.status_code == 200, answer.text
        found: Row = answer.json()
        return found

    def verify_at_the_command_line(self, job: Row) -> tuple[int, Row]:
        command = [Path(sys.prefix) / "bin/analytics-export", "verify", job["jobId"], "--json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, json.loads(done.stdout)


async def fold_everything(database: Database) -> None:
    async with WriteDatabase.open(database.dsn("analytics_rollup"), application_name="test", pool_size=1) as rollup:
        while await fold(rollup, Claim()):
            pass
        while await fold_dimensions(rollup, Claim()):
            pass


@pytest.fixture(scope="module")
def service(
    make_database: Callable[..., Database], rabbitmq: RabbitMq, s3: ObjectStore, free_port: Callable[[], int]
) -> Iterator[tuple[ExportApi, Database, dict[str, str]]]:
    database = make_database()
    env = environment(database, rabbitmq, s3, free_port())
    with ServiceProcesses() as processes:
        yield ExportApi(processes.start("analytics-export", env), UUID(int=0)), database, env


@pytest.fixture
def finance(service: tuple[ExportApi, Database, dict[str, str]]) -> Finance:
    api, database, env = service
    org_id, rng = uuid4(), random.Random(7)
    found = random_events(rng, 600, MARCH - timedelta(days=2), timedelta(days=35), orgs=1, models=4)
    in_march = [replace(event, org_id=org_id) for event in found if MARCH <= event.occurred_at < APRIL]
    outside = [replace(event, org_id=org_id) for event in found if not MARCH <= event.occurred_at < APRIL]
    named = [replace(in_march[0], model_id=name, client_id=name) for name in NASTY]
    organisation = Finance(ExportApi(api.process, org_id), database, env, [])
    organisation.add(outside)
    organisation.events.clear()
    organisation.add(in_march + named)
    return organisation


def rows_of(content: bytes, file_format: str) -> list[Row]:
    """The rows as text by column, None where nothing is; CSV without the apostrophes that disarm formulas."""
    if file_format == "parquet":
        return [{name: plain(value) for name, value in row.items()} for row in read_parquet(content).to_pylist()]
    if file_format == "jsonl":
        lines = (json.loads(line, parse_float=Decimal) for line in content.decode().splitlines())
        return [{name: plain(value) for name, value in row.items()} for row in lines]
    text = (gzip.decompress(content) if file_format == "csv.gz" else content).decode()
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    return [{name: value.removeprefix("'") or None for name, value in row.items()} for row in rows]


def plain(value: Any) -> str | None:
    match value:
        case None:
            return None
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%S}" + (f".{value:%f}Z" if value.microsecond else "Z")
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case Decimal():
            return f"{value:f}"
        case _:
            return str(value)


def read_parquet(content: bytes) -> pyarrow.Table:
    return parquet.read_table(io.BytesIO(content))


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


@pytest.mark.parametrize("template", ["full", "finance-summary", "chargeback", "incident"])
def test_a_manifest_keeps_to_its_schema(finance: Finance, template: str) -> None:
    """The page that auditors program against."""
    schema = json.loads((CONTRACTS / "manifest.v1.schema.json").read_text())
    job = finance.api.finished(template=template, filters={"status": ["success", "error"]})
    manifest = finance.api.request("GET", f"/{job['jobId']}/manifest").json()

    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(manifest)

    assert (manifest["rowCount"], manifest["totals"]) == (job["rowCount"], job["totals"])


@pytest.mark.parametrize(
    "question", [{"granularity": "monthly"}, {"template": "chargeback"}, {"granularity": "events"}]
)
def test_a_sound_export_verifies_against_all_its_sources(finance: Finance, question: Row) -> None:
    """File, API, rollups and raw events say the same, over HTTP and at the command line."""
    job = finance.api.finished(**question)

    found = finance.verify(job)

    assert [(check["source"], check["result"]) for check in found["checks"]] == [
        (source, "equal") for source in ("object", "api", "rollups", "events")
    ]
    assert finance.verify_at_the_command_line(job) == (0, found)


def test_verification_says_what_is_wrong_and_where(finance: Finance, s3: ObjectStore) -> None:
    """A changed rollup is named by its bucket, a changed file by its checksum."""
    job = finance.api.finished(granularity="daily")
    with psycopg.connect(finance.database.owner_dsn) as connection:
        connection.execute(
            "UPDATE analytics.usage_daily SET cost_microcents = cost_microcents + 1"
            " WHERE (org_id, bucket_start, model_id) = (SELECT org_id, bucket_start, model_id"
            " FROM analytics.usage_daily WHERE org_id = %s AND bucket_start >= %s"
            " ORDER BY bucket_start, model_id LIMIT 1)",
            (finance.api.org_id, MARCH + timedelta(days=9)),
        )
    key = f"analytics/exports/{finance.api.org_id}/{job['jobId']}.csv"
    s3.client.put_object(s3.bucket, key, io.BytesIO(b"forged"), 6)

    found = finance.verify(job)

    assert not found["equal"]
    assert [check["result"] for check in found["checks"]] == ["different", "different", "different", "equal"]
    (difference,) = found["differences"]
    assert difference["excess"] == {"cost_microcents": 1}
    assert difference["bucketStart"] >= "2026-03-10"
    assert finance.verify_at_the_command_line(job)[0] == 1


def test_an_export_that_late_events_have_outdated_differs_from_all_sources_alike(finance: Finance) -> None:
    """No bucket is named: the sources agree, a new export is in order."""
    job = finance.api.finished(granularity="daily")
    finance.add([replace(finance.events[0], occurred_at=MARCH + timedelta(hours=5))])

    found = finance.verify(job)

    assert [check["result"] for check in found["checks"]] == ["equal", "different", "different", "different"]
    assert found["differences"] == []


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
