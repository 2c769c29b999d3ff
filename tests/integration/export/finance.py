"""An organisation with a month of raw events, and its files as rows, whatever their format."""

import asyncio
import csv
import gzip
import io
import json
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from analytics_core.database import WriteDatabase
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, fold
from tests.integration.export.running import ExportApi
from tests.support.batches import StoredEvent, in_batches, store
from tests.support.stack import Database

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

    def verify_at_the_command_line(self, job: Row, **variables: str) -> tuple[int, Row]:
        done = self.run_verify(job, "--json", **variables)
        return done.returncode, json.loads(done.stdout)

    def run_verify(self, job: Row, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.prefix) / "bin/analytics-export", "verify", job["jobId"], *arguments]
        env = self.env | variables
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


async def fold_everything(database: Database) -> None:
    async with WriteDatabase.open(database.dsn("analytics_rollup"), application_name="test", pool_size=1) as rollup:
        while await fold(rollup, Claim()):
            pass
        while await fold_dimensions(rollup, Claim()):
            pass


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
