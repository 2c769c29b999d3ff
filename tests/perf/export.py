"""How fast, and in how much memory, a million and ten million rows become a file in the object storage.

Fills hourly rollups (1,000 hours of 1,000 and of 10,000 models), starts the export service as a process of its own and
asks it for files, as a user would: from the request to `succeeded`. Beside it, in the same run, a bare
`COPY … TO STDOUT` of the same rows that throws its bytes away, and the naive way: fetch all, csv module, one put.
"""

import argparse
import csv
import hashlib
import io
import json
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg

from tests.integration.export.running import COUNTS, ExportApi, environment
from tests.perf.load.servers import bench_servers
from tests.support import stack_places
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore

START, HOURS = datetime(2026, 1, 1, tzinfo=UTC), 1_000
END = START + timedelta(hours=HOURS)
COLUMNS = ", ".join(("bucket_start", "model_id", *COUNTS))
SPAN = {"start": START, "end": END}
FILL_HOURLY = f"""
INSERT INTO analytics.usage_hourly
    (org_id, {COLUMNS}, latency_bins, latency_counts, first_event_at, last_event_at)
SELECT %(org)s, hour, 'provider/model-' || model, 100 + model, 3, 2, 1, 100000 * model, 50000, 100, 50,
    123456789 * model, '{{100}}', '{{1}}', hour, hour
FROM generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 hour', interval '1 hour') AS hour,
    generate_series(1, %(rows)s::bigint / {HOURS}) AS model
"""
FILL_EVENTS = """
INSERT INTO analytics.usage_events (
    org_id, event_id, occurred_at, batch_id, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, client_id, project, metadata_json
)
SELECT %(org)s, gen_random_uuid(), %(start)s::timestamptz + (%(end)s::timestamptz - %(start)s) * random(), 0, 0,
    (random() * 1e9)::bigint, (random() * 9000)::integer, (random() * 4000)::integer, (random() * 800)::integer, 0, 0,
    CASE WHEN random() < 0.97 THEN 'success' ELSE 'error' END, 'provider/model-' || number %% 40,
    'client-' || number %% 500,
    'project-' || number %% 90,
    format('{"project":"project-%%s","team":"team-%%s"}', number %% 90, number %% 9)
FROM generate_series(1, %(rows)s::bigint) AS number
"""
ROWS = f"SELECT {COLUMNS} FROM analytics.usage_hourly WHERE org_id = '{{org}}' ORDER BY bucket_start, model_id"
PATIENCE_S = 900


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fill(place: Database, statement: str, rows: int) -> UUID:
    """So many rows of an organisation of their own."""
    org_id, started = uuid4(), time.perf_counter()
    with psycopg.connect(place.owner_dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(statement.encode(), {"org": org_id, "rows": rows, **SPAN})
        connection.execute("ANALYZE analytics.usage_hourly, analytics.usage_events")
    say(f"{rows:>12,} rows made in {time.perf_counter() - started:.0f} s")
    return org_id


def report(name: str, rows: int, seconds: float, size_bytes: int) -> float:
    say(f"{name:<44}{rows:>12,} rows {seconds:>8.2f} s {rows / seconds:>12,.0f}/s {size_bytes / 1e6:>10,.0f} MB")
    return seconds


def export(api: ExportApi, name: str, rows: int, **fields: Any) -> float:
    """From the request to the finished file, which is then read back and compared with its checksum."""
    started = time.perf_counter()
    job = api.wait_for(api.create(START, END, **fields)["jobId"], "succeeded", PATIENCE_S)
    seconds = time.perf_counter() - started
    if job["rowCount"] != rows:
        raise AssertionError(f"{job['rowCount']} rows, not {rows}")
    location = api.request("GET", f"/{job['jobId']}/download").headers["location"]
    digest = hashlib.sha256()
    with httpx.stream("GET", location, timeout=60, trust_env=False) as file:
        for piece in file.iter_bytes():
            digest.update(piece)
    if digest.hexdigest() != job["checksum"]:
        raise AssertionError("the file is not what its checksum says")
    return report(name, rows, seconds, job["sizeBytes"])


def bare_copy(place: Database, org_id: UUID, rows: int) -> float:
    """What the server takes to send the same numbers to somebody who throws them away."""
    started, size_bytes = time.perf_counter(), 0
    command = f"COPY ({ROWS.format(org=org_id)}) TO STDOUT (FORMAT csv)".encode()
    with psycopg.connect(place.owner_dsn) as connection, connection.cursor().copy(command) as pieces:
        for piece in pieces:
            size_bytes += len(piece)
    return report("bare COPY … TO STDOUT", rows, time.perf_counter() - started, size_bytes)


def naive(place: Database, s3: ObjectStore, org_id: UUID, rows: int) -> float:
    """Everything in memory, twice."""
    started = time.perf_counter()
    with psycopg.connect(place.owner_dsn) as connection:
        found = connection.execute(ROWS.format(org=org_id).encode()).fetchall()
    text = io.StringIO()
    writer = csv.writer(text)
    for bucket_start, model_id, *counts, cost_microcents in found:
        cost_cents = Decimal(cost_microcents).scaleb(-6)
        writer.writerow((bucket_start.isoformat(), org_id, model_id, *counts, cost_cents))
    body = text.getvalue().encode()
    s3.client.put_object(s3.bucket, "naive.csv", io.BytesIO(body), len(body))
    return report("naive: fetch all, csv module, one put", rows, time.perf_counter() - started, len(body))


def peak_mib(pid: int) -> int:
    """The most memory that the process ever had."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def bench(options: argparse.Namespace) -> dict[str, float]:
    servers = bench_servers()
    found: dict[str, float] = {}
    with ExitStack() as stack:
        place = stack.enter_context(stack_places.database(servers))
        rabbitmq = stack.enter_context(stack_places.virtual_host(servers))
        s3 = stack.enter_context(stack_places.bucket(servers))
        overrides = {"EXPORT_RANGE_MAX": f"{HOURS}h"}
        env = environment(place, rabbitmq, s3, free_port(), overrides)
        processes = stack.enter_context(ServiceProcesses())
        process = processes.start("analytics-export", env)
        small = fill(place, FILL_HOURLY, options.rows)
        api = ExportApi(process, small)
        rounds = [
            (
                export(api, "hourly usage as CSV, end to end", options.rows, granularity="hourly"),
                bare_copy(place, small, options.rows),
            )
            for _ in range(options.rounds)
        ]
        exported, copied = zip(*rounds, strict=True)
        found |= {"csv_1m_s": statistics.median(exported), "copy_1m_s": statistics.median(copied)}
        found["naive_1m_s"] = naive(place, s3, small, options.rows)
        found["rss_mb_max_1m"] = peak_mib(process.pid)
        for name in ("csv.gz", "jsonl", "parquet"):
            seconds = export(api, f"hourly usage as {name}", options.rows, granularity="hourly", format=name)
            found[f"{name.replace('.', '_')}_1m_s"] = seconds
        events = ExportApi(process, fill(place, FILL_EVENTS, options.rows))
        found["events_csv_1m_s"] = export(events, "raw events as CSV", options.rows, granularity="events")
        if options.large:
            large = ExportApi(process, fill(place, FILL_HOURLY, options.large))
            found["csv_10m_s"] = export(large, "hourly usage as CSV", options.large, granularity="hourly")
            found["rss_mb_max_10m"] = peak_mib(process.pid)
    peak = found.get("rss_mb_max_10m", found["rss_mb_max_1m"])
    say(f"most memory of the worker: {found['rss_mb_max_1m']} MiB for a million rows, {peak} MiB in the end")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the small export (default: a million)")
    parser.add_argument("--large", type=int, default=10_000_000, help="of the large one, 0 for none (ten million)")
    parser.add_argument("--rounds", type=int, default=3, help="of the small one; the median counts (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON, in the last line")
    options = parser.parse_args(arguments)
    found = bench(options)
    if options.json:
        say(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
