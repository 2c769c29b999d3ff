"""Manifest and verification: a sound file is equal to all its sources, a changed one is found out and where."""

import gzip
import hashlib
import io
import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import jsonschema
import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from tests.integration.export.finance import FORMATS, Finance, Row, read_parquet, rows_of
from tests.integration.export.running import MARCH
from tests.support.stack import ObjectStore

CONTRACTS = Path(__file__).parents[3] / "contracts/exports"


@pytest.mark.parametrize("template", ["full", "finance-summary", "chargeback", "incident"])
def test_a_manifest_keeps_to_its_schema(finance: Finance, template: str) -> None:
    """The page that auditors program against."""
    schema = json.loads((CONTRACTS / "manifest.v1.schema.json").read_text())
    job = finance.api.finished(template=template, filters={"status": ["success", "error"]})
    manifest = finance.api.request("GET", f"/{job['jobId']}/manifest").json()

    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(manifest)

    assert (manifest["rowCount"], manifest["totals"]) == (job["rowCount"], job["totals"])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "question",
    [
        {"granularity": "daily", "timezone": "Asia/Kolkata", "groupBy": ["model", "client"]},
        {"template": "chargeback"},
        {"granularity": "events"},
    ],
    ids=["daily", "chargeback", "events"],
)
def test_a_sound_export_verifies_against_all_its_sources(finance: Finance, question: Row, name: str) -> None:
    """File, API, rollups and raw events say the same, over HTTP and at the command line."""
    job = finance.api.finished(**question, format=name)

    found = finance.verify(job)

    assert [(check["source"], check["result"]) for check in found["checks"]] == [
        (source, "equal") for source in ("object", "manifest", "rows", "api", "rollups", "events")
    ]
    assert found["differences"] == []
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
    assert results(found) == {
        "object": "different", "manifest": "equal", "rows": "different",
        "api": "different", "rollups": "different", "events": "equal",
    }  # fmt: skip
    (difference,) = found["differences"]
    assert (difference["source"], difference["excess"]) == ("events", {"cost_microcents": -1})
    assert difference["bucketStart"] >= "2026-03-10"
    assert finance.verify_at_the_command_line(job)[0] == 1


def results(found: Row) -> dict[str, str]:
    return {check["source"]: check["result"] for check in found["checks"]}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_was_changed_together_with_its_manifest_is_found_out(
    finance: Finance, s3: ObjectStore, name: str
) -> None:
    """Somebody takes a cent from one row and writes down the new checksum and sum: the rows are added up again, and
    compared with what the database keeps."""
    job = finance.api.finished(granularity="daily", format=name)
    key = f"analytics/exports/{finance.api.org_id}/{job['jobId']}.{name}"
    forged, day, model = cheaper(finance.api.download(job).content, name)
    manifest = finance.api.request("GET", f"/{job['jobId']}/manifest").json()
    manifest["object"] |= {"sha256": hashlib.sha256(forged).hexdigest(), "sizeBytes": len(forged)}
    manifest["totals"]["costEstimateCents"] = str(Decimal(manifest["totals"]["costEstimateCents"]) - 1)
    for each, content in ((key, forged), (f"{key}.manifest.json", json.dumps(manifest).encode())):
        s3.client.put_object(s3.bucket, each, io.BytesIO(content), len(content))

    found = finance.verify(job)
    details = {check["source"]: check["detail"] for check in found["checks"]}

    assert not found["equal"]
    assert results(found) == {
        "object": "different", "manifest": "different", "rows": "different",
        "api": "equal", "rollups": "equal", "events": "equal",
    }  # fmt: skip
    assert details["manifest"] == "says something else of: totals, object"
    assert details["rows"] == "against what was written: cost_microcents -1,000,000"
    assert found["differences"] == [
        {"source": "rows", "bucketStart": day, "modelId": None, "excess": {"cost_microcents": -1_000_000}},
        {"source": "rows", "bucketStart": None, "modelId": model, "excess": {"cost_microcents": -1_000_000}},
    ]
    assert finance.verify_at_the_command_line(job) == (1, found)


def cheaper(content: bytes, name: str) -> tuple[bytes, str, str]:
    """The file with a cent taken from its third row, that row's day and model."""
    if name == "parquet":
        table = read_parquet(content)
        rows = table.to_pylist()
        rows[2]["cost_estimate_cents"] -= 1
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows, table.schema), buffer, compression="snappy")
        return buffer.getvalue(), f"{rows[2]['bucket_start']:%Y-%m-%dT%H:%M:%SZ}", rows[2]["model_id"]
    text = gzip.decompress(content) if name == "csv.gz" else content
    row = rows_of(content, name)[2]
    cost = str(row["cost_estimate_cents"])
    lines = text.splitlines(keepends=True)
    place = 2 if name == "jsonl" else 3
    assert cost.encode() in lines[place]
    lines[place] = lines[place].replace(cost.encode(), f"{Decimal(cost) - 1:f}".encode())
    text = b"".join(lines)
    return gzip.compress(text) if name == "csv.gz" else text, str(row["bucket_start"]), str(row["model_id"])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("damage", ["cut", "empty", "other", "one line"])
def test_a_file_that_is_no_longer_one_says_so(finance: Finance, s3: ObjectStore, name: str, damage: str) -> None:
    """Cut off, emptied, or something else altogether, without an end of a line too: an answer, not an error."""
    job = finance.api.finished(granularity="daily", format=name)
    content = finance.api.download(job).content
    broken = {
        "cut": content[: len(content) * 2 // 3],
        "empty": b"",
        "other": b"\x00\xff\n" * 40_000,
        "one line": gzip.compress(b"x" * 3_000_000) if name == "csv.gz" else b"x" * 3_000_000,
    }[damage]
    key = f"analytics/exports/{finance.api.org_id}/{job['jobId']}.{name}"
    s3.client.put_object(s3.bucket, key, io.BytesIO(broken), len(broken))

    found = finance.verify(job)

    assert (results(found)["object"], results(found)["rows"]) == ("different", "different")
    assert results(found)["rollups"] == "equal"


def test_a_file_that_is_gone_is_different(finance: Finance, s3: ObjectStore) -> None:
    """The storage answers, and has nothing: that is a finding about the file."""
    job = finance.api.finished(granularity="daily")
    key = f"analytics/exports/{finance.api.org_id}/{job['jobId']}.csv"
    for each in (key, f"{key}.manifest.json"):
        s3.client.remove_object(s3.bucket, each)

    found = finance.verify(job)

    assert (results(found)["object"], results(found)["manifest"]) == ("different", "different")
    assert found["checks"][0]["detail"] == "the object storage has no such object"


def test_a_storage_that_is_away_says_nothing_about_the_file(finance: Finance) -> None:
    """Neither different, which would accuse somebody, nor equal, which nobody has seen."""
    job = finance.api.finished(granularity="daily")
    away = {"S3_ENDPOINT": "http://127.0.0.1:1"}

    code, found = finance.verify_at_the_command_line(job, **away)
    shown = finance.run_verify(job, **away)

    assert results(found) == {
        "object": "skipped", "manifest": "skipped", "rows": "skipped",
        "api": "equal", "rollups": "equal", "events": "equal",
    }  # fmt: skip
    assert found["checks"][0]["detail"] == "the object storage did not answer as it should"
    assert (code, shown.returncode) == (1, 1)
    assert shown.stdout.endswith("\nCOULD NOT BE VERIFIED: the file or its manifest was not read\n")


def test_an_export_that_late_events_have_outdated_differs_from_all_sources_alike(finance: Finance) -> None:
    """The bucket and the model that have changed are named: a new export is in order."""
    job = finance.api.finished(granularity="daily")
    finance.add([replace(finance.events[0], occurred_at=MARCH + timedelta(hours=5))])

    found = finance.verify(job)

    assert results(found) == {
        "object": "equal", "manifest": "equal", "rows": "equal",
        "api": "different", "rollups": "different", "events": "different",
    }  # fmt: skip
    assert [(each["source"], each["excess"]["events"]) for each in found["differences"]] == [("rows", -1), ("rows", -1)]
    assert [each["bucketStart"] for each in found["differences"]] == ["2026-03-01T00:00:00Z", None]
    assert found["differences"][1]["modelId"] == finance.events[0].model_id
