"""The service while its servers are away or refuse it, and its signed URLs: processes of their own."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.integration.export import storages
from tests.integration.export.running import PATIENCE_S, ExportApi, environment
from tests.integration.export.storages import objects, unfinished_uploads
from tests.support.polling import eventually
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq
from tools.devstack.postgres import superuser_dsn

StartExport = Callable[..., ExportApi]
NOBODY_LISTENS = "amqp://nobody:nothing@127.0.0.1:9/none"


@pytest.fixture(scope="module")
def quiet_database(make_database: Callable[..., Database]) -> Database:
    """A queue that only the service of the test serves."""
    return make_database()


@pytest.fixture
def start_export(
    quiet_database: Database,
    make_rabbitmq: Callable[[], RabbitMq],
    s3: ObjectStore,
    free_port: Callable[[], int],
    service_processes: ServiceProcesses,
) -> StartExport:
    """Starts the service with these variables, for an organisation of its own."""
    rabbitmq = make_rabbitmq()

    def start(**variables: str) -> ExportApi:
        env = environment(quiet_database, rabbitmq, s3, free_port(), {"EXPORT_WORKER_INTERVAL": "200ms", **variables})
        return ExportApi(service_processes.start("analytics-export", env), uuid4())

    return start


def readiness(api: ExportApi) -> dict[str, str]:
    response = api.send("GET", "/status/readyz", None)
    assert response.status_code == 200, response.text
    states: dict[str, str] = response.json()["dependencies"]
    return states


def test_an_export_waits_for_a_storage_that_is_away(
    start_export: StartExport, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The API accepts jobs, says why they wait, and the worker ends them when the storage is back."""
    port = free_port()
    api = start_export(
        S3_ENDPOINT=f"http://127.0.0.1:{port}",
        S3_BUCKET=storages.BUCKET,
        S3_ACCESS_KEY=storages.ACCESS_KEY,
        S3_SECRET_KEY=storages.SECRET_KEY,
        # Longer than any start of rclone, shorter than the test's patience.
        EXPORT_RETRY_DELAY="3s",
    )
    job_id = api.create()["jobId"]
    eventually(lambda: api.show(job_id)["error"], PATIENCE_S)
    waiting = api.show(job_id)

    assert (waiting["error"]["code"], waiting["links"]["download"]) == ("storage_unavailable", None)
    assert readiness(api)["s3"] != "ok"

    with storages.rclone(tmp_path, port) as storage:
        done = api.wait_for(job_id, "succeeded", patience_s=60)
        key = f"analytics/exports/{api.org_id}/{job_id}.csv"
        assert objects(storage) == [key, f"{key}.manifest.json"]
        assert done["error"] is None
        eventually(lambda: readiness(api)["s3"] == "ok")


def test_an_export_that_the_storage_refuses_fails_with_the_reason(start_export: StartExport) -> None:
    """After five attempts; neither answer nor log tells the key."""
    api = start_export(S3_SECRET_KEY="a-wrong-secret-key")

    job = api.wait_for(api.create()["jobId"], "failed")
    download = api.request("GET", f"/{job['jobId']}/download")

    assert job["error"] == {
        "code": "storage_denied",
        "detail": "the object storage refuses this service's key",
    }
    assert job["attempts"] == 5
    assert job["completedAt"] is not None
    assert download.status_code == 409
    assert "a-wrong-secret-key" not in api.process.log()
    metrics = httpx.get(f"{api.process.url}/metrics", trust_env=False).text
    assert 'analytics_export_jobs_failed_total{code="storage_denied"} 1.0' in metrics
    assert 'analytics_export_jobs_total{granularity="daily"} 1.0' in metrics


def test_a_missing_bucket_is_named_as_the_reason(start_export: StartExport) -> None:
    """And readiness tells the operator before the first user does."""
    api = start_export(S3_BUCKET="no-such-bucket")

    job = api.wait_for(api.create()["jobId"], "failed")

    assert job["error"]["code"] == "bucket_missing"
    assert readiness(api)["s3"] != "ok"


def test_the_bucket_is_made_where_that_is_wanted(start_export: StartExport, s3: ObjectStore) -> None:
    """A development stack on an empty storage."""
    name = f"made-{uuid4()}"
    api = start_export(S3_BUCKET=name, S3_CREATE_BUCKET="true")

    api.finished()

    for made in s3.client.list_objects(name, recursive=True):
        s3.client.remove_object(name, str(made.object_name))
    s3.client.remove_bucket(name)


def test_an_upload_that_a_frozen_worker_began_after_the_end_is_removed(
    start_export: StartExport, quiet_database: Database, s3: ObjectStore
) -> None:
    """The storage lists uploads by their whole key alone, so each job's are looked for once more, an hour later."""
    api = start_export()
    job = api.finished()
    key = f"analytics/exports/{api.org_id}/{job['jobId']}.csv"
    for each in (key, f"{key}.manifest.json"):
        s3.client._create_multipart_upload(s3.bucket, each, {})
    assert s3.client._list_multipart_uploads(s3.bucket, prefix="analytics/exports/").uploads == []

    with psycopg.connect(quiet_database.superuser_dsn) as connection:
        connection.execute("SET session_replication_role = replica")  # past the trigger that guards results
        connection.execute(
            "UPDATE analytics.export_jobs SET completed_at = now() - interval '2 hours' WHERE job_id = %s",
            [job["jobId"]],
        )

    eventually(lambda: unfinished_uploads(s3, key) + unfinished_uploads(s3, f"{key}.manifest.json") == 0, PATIENCE_S)
    assert objects(s3).count(key) == 1


def test_exports_are_made_without_the_broker(start_export: StartExport) -> None:
    """A message is a wake-up: without any of them the worker polls."""
    api = start_export(RABBITMQ_URL=NOBODY_LISTENS)

    assert api.finished()["status"] == "succeeded"
    assert readiness(api)["rabbitmq"] != "ok"


def test_a_request_at_one_replica_wakes_the_worker_of_another(start_export: StartExport) -> None:
    """With an hour between two looks at the queue, only the message can have told it."""
    api = start_export(EXPORT_WORKER_CONCURRENCY="0")
    worker = start_export(EXPORT_WORKER_INTERVAL="1h")
    eventually(lambda: readiness(worker)["rabbitmq"] == readiness(api)["rabbitmq"] == "ok", PATIENCE_S)

    job_id = api.create()["jobId"]

    assert api.wait_for(job_id, "succeeded", patience_s=PATIENCE_S)["attempts"] == 1


def test_a_database_that_is_away_is_no_crash(start_export: StartExport, quiet_database: Database) -> None:
    """503 with the problem in it while it is away; the work goes on when it is back."""
    api = start_export()
    with psycopg.connect(superuser_dsn(quiet_database.stack), autocommit=True) as superuser:
        superuser.execute(f'ALTER DATABASE "{quiet_database.name}" ALLOW_CONNECTIONS false')
        try:
            superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (quiet_database.name,)
            )
            refused = api.request("GET")
            eventually(lambda: api.send("GET", "/status/readyz", None).status_code == 503)
            ready = api.send("GET", "/status/readyz", None)
        finally:
            superuser.execute(f'ALTER DATABASE "{quiet_database.name}" ALLOW_CONNECTIONS true')

    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert ready.json()["dependencies"]["database"] != "ok"
    eventually(lambda: api.send("GET", "/status/readyz", None).status_code == 200, PATIENCE_S)
    assert api.finished()["status"] == "succeeded"


def test_a_signed_url_works_for_its_time_and_not_longer(start_export: StartExport) -> None:
    """Whoever finds the URL in a proxy's log next week gets nothing."""
    api = start_export(EXPORT_SIGNED_URL_TTL="3s")
    job = api.finished()

    redirect = api.request("GET", f"/{job['jobId']}/download")
    url = redirect.headers["location"]
    at_once = httpx.get(url, trust_env=False)
    time.sleep(4)  # the storage compares with its own clock, which a test cannot move
    later = httpx.get(url, trust_env=False)

    assert at_once.status_code == 200
    assert later.status_code in {400, 403}
    assert redirect.headers["cache-control"] == "no-store"
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Expires"] == ["3"]
    assert query["response-content-disposition"] == [
        f'attachment; filename="usage-daily-20260301-20260401-{job["jobId"][:8]}.csv"'
    ]


def test_a_signed_url_is_kept_nowhere(start_export: StartExport, quiet_database: Database) -> None:
    """It is a credential: not in the job, not in the log; and each request gets one of its own."""
    api = start_export(LOG_LEVEL="debug")
    job = api.finished()

    signature = parse_qs(urlsplit(api.request("GET", f"/{job['jobId']}/download").headers["location"]).query)

    with psycopg.connect(quiet_database.owner_dsn) as connection:
        rows = connection.execute("SELECT to_jsonb(j) FROM analytics.export_jobs j").fetchall()
        audit = connection.execute("SELECT to_jsonb(a) FROM analytics.audit_log a").fetchall()
    assert "X-Amz" not in json.dumps([rows, audit, api.show(job["jobId"])], default=str)
    assert signature["X-Amz-Signature"][0] not in api.process.log()


def test_urls_are_signed_for_the_host_that_users_see(start_export: StartExport, s3: ObjectStore) -> None:
    """Inside a cluster the storage has another name than outside; the signature covers it."""
    api = start_export(S3_PUBLIC_ENDPOINT=s3.endpoint.replace("127.0.0.1", "localhost"))
    job = api.finished()

    response = api.download(job)

    assert response.request.url.host == "localhost"
    assert response.status_code == 200
