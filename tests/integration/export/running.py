"""A running export service as its users meet it, and the rollups that it reads."""

import csv
import io
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import psycopg

from tests.support.callers import JWT_SECRET, token
from tests.support.processes import ServiceProcess
from tests.support.stack import Database, ObjectStore, RabbitMq

CREATE, READ, DOWNLOAD = (f"analytics:exports:{verb}" for verb in ("create", "read", "download"))
PATIENCE_S = 30
POLL_S = 0.05
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
HOURS_OF_MARCH = 31 * 24

COUNTS = (
    "invocations",
    "error_count",
    "timeout_count",
    "throttled_count",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_microcents",
)


@dataclass(frozen=True)
class Bucket:
    """One row of a rollup table; the counts are those of `COUNTS`."""

    org_id: UUID
    start: datetime
    model_id: str
    counts: tuple[int, ...] = (10, 3, 2, 1, 1_000, 500, 100, 50, 1_234_567)


def store_usage(database: Database, table: str, buckets: Iterable[Bucket]) -> None:
    """Put rows into `usage_hourly` or `usage_daily`, as rollup would."""
    columns = ", ".join(("org_id", "bucket_start", "model_id", *COUNTS))
    copy = f"COPY analytics.{table} ({columns}, latency_bins, latency_counts, first_event_at, last_event_at) FROM STDIN"
    stored = list(buckets)
    with psycopg.connect(database.owner_dsn) as connection, connection.cursor() as cursor:
        with cursor.copy(copy) as rows:
            for each in stored:
                rows.write_row(
                    (each.org_id, each.start, each.model_id, *each.counts, "{100}", "{1}", each.start, each.start)
                )
        cursor.executemany(
            "INSERT INTO analytics.freshness_status VALUES (%s, %s, now(), now()) ON CONFLICT DO NOTHING",
            sorted({(each.org_id, each.model_id) for each in stored}, key=str),
        )


def fill_march(database: Database, org_id: UUID, models: int) -> None:
    """An hourly row of every model in every hour of March 2026, made by the server: 100,000 of them in a second."""
    columns = ", ".join(("org_id", "bucket_start", "model_id", *COUNTS))
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(
            f"INSERT INTO analytics.usage_hourly ({columns}, latency_bins, latency_counts, first_event_at,"
            " last_event_at) SELECT %s, hour, 'provider/model-' || model, 100 + model, 3, 2, 1, 100000 * model, 50000,"
            " 100, 50, 123456789 * model, '{100}', '{1}', hour, hour"
            " FROM generate_series(%s, %s - interval '1 hour', interval '1 hour') AS hour,"
            " generate_series(1, %s::bigint) AS model",
            (org_id, MARCH, APRIL, models),
        )
        connection.execute("ANALYZE analytics.usage_hourly")


def environment(
    database: Database, rabbitmq: RabbitMq, s3: ObjectStore, port: int, overrides: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What the service is started with: short pauses, so that a test of a retry takes no minute."""
    return {
        "SERVICE_NAME": "analytics-export",
        "ENVIRONMENT": "test",
        "LOG_LEVEL": "info",
        "HTTP_PORT": str(port),
        "DATABASE_URL": database.dsn("analytics_export"),
        "RABBITMQ_URL": rabbitmq.amqp_url,
        "S3_ENDPOINT": s3.endpoint,
        "S3_ACCESS_KEY": s3.access_key,
        "S3_SECRET_KEY": s3.secret_key,
        "S3_BUCKET": s3.bucket,
        "S3_REGION": s3.region,
        "AUTH_JWT_SECRET": JWT_SECRET,
        "EXPORT_RETRY_DELAY": "50ms",
        "EXPORT_WORKER_INTERVAL": "1s",
        **(overrides or {}),
    }


@dataclass(frozen=True)
class ExportApi:
    """The service by HTTP, for one organisation."""

    process: ServiceProcess
    org_id: UUID

    def request(
        self, method: str, path: str = "", *, roles: tuple[str, ...] = ("org:admin",), **arguments: Any
    ) -> httpx.Response:
        """A request below the organisation's exports, as its member with these roles."""
        bearer = token(*roles, orgs=[self.org_id])
        return self.send(method, f"/orgs/{self.org_id}/exports{path}", bearer, **arguments)

    def send(self, method: str, path: str, bearer: str | None, **arguments: Any) -> httpx.Response:
        """A request below the API's prefix."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        url = f"{self.process.url}/analytics/v1{path}"
        return httpx.request(method, url, headers=headers, timeout=30, trust_env=False, **arguments)

    def create(self, start: datetime = MARCH, end: datetime = APRIL, **fields: Any) -> dict[str, Any]:
        """A new export; fields are those of the body."""
        body = {"timeRange": {"start": start.isoformat(), "end": end.isoformat()}, **fields}
        response = self.request("POST", json=body)
        assert response.status_code == 202, response.text
        job: dict[str, Any] = response.json()
        return job

    def show(self, job_id: str) -> dict[str, Any]:
        response = self.request("GET", f"/{job_id}")
        assert response.status_code == 200, response.text
        job: dict[str, Any] = response.json()
        return job

    def wait_for(self, job_id: str, status: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """The export once it has this status."""
        deadline = time.monotonic() + patience_s
        while (job := self.show(job_id))["status"] != status:
            assert time.monotonic() < deadline, f"not {status} after {patience_s} s: {job}\n{self.process.log()}"
            assert job["status"] not in {"succeeded", "failed"}, f"{job}\n{self.process.log()}"
            time.sleep(POLL_S)
        return job

    def finished(self, **fields: Any) -> dict[str, Any]:
        """A new export once it has succeeded."""
        return self.wait_for(self.create(**fields)["jobId"], "succeeded")

    def download(self, job: Mapping[str, Any]) -> httpx.Response:
        """The file of an export, through the redirect."""
        redirect = self.request("GET", f"/{job['jobId']}/download")
        assert redirect.status_code == 302, redirect.text
        return httpx.get(redirect.headers["location"], timeout=60, trust_env=False)


def read_csv(content: bytes) -> list[dict[str, str]]:
    """The rows as a strict reader of RFC 4180 sees them."""
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))


def total(rows: Iterable[Mapping[str, str]], column: str) -> Decimal:
    return sum((Decimal(row[column]) for row in rows), Decimal(0))
