"""Workers that are killed, frozen and stopped in the middle of an export: one object, the right one, each time."""

import hashlib
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.crash.export.conftest import ROWS, StartExport
from tests.crash.export.gate import Gate
from tests.integration.export.running import PATIENCE_S, ExportApi
from tests.integration.export.storages import objects, unfinished_uploads
from tests.support.polling import eventually
from tests.support.stack import Database, ObjectStore

MEBIBYTE = 1 << 20
# Within the second part of the upload: one has arrived, one is half way.
MIDDLE_BYTES = 12 * MEBIBYTE


@pytest.fixture
def gate(s3: ObjectStore) -> Gate:
    """Holds an export in the middle of its upload."""
    return Gate(port_of(s3), MIDDLE_BYTES)


def port_of(s3: ObjectStore) -> int:
    return urlsplit(s3.endpoint).port or 80


def assert_one_right_object(api: ExportApi, job: dict[str, Any], s3: ObjectStore) -> None:
    content = api.download(job).content

    assert job["checksum"] == hashlib.sha256(content).hexdigest()
    assert (job["rowCount"], content.count(b"\r\n")) == (ROWS, ROWS + 1)
    key = f"analytics/exports/{api.org_id}/{job['jobId']}.csv"
    assert [each for each in objects(s3) if job["jobId"] in each] == [key, f"{key}.manifest.json"]
    # A thawed worker may still be aborting what it had started.
    eventually(lambda: unfinished_uploads(s3, key) == 0)


@pytest.mark.parametrize(
    ("held_at", "ended"),
    [
        (b".csv?partNumber=1&", "succeeded"),
        (b".csv?partNumber=3&", "succeeded"),
        (b".csv?uploadId=", "succeeded"),
        (b".manifest.json?uploadId=", "succeeded"),
        (b".csv?partNumber=1&", "canceled"),
        (b".manifest.json?uploadId=", "canceled"),
    ],
    ids=[
        "before the first part", "between parts", "before the file is completed", "between file and manifest",
        "before the first part, then canceled", "between file and manifest, then canceled",
    ],
)  # fmt: skip
def test_wherever_a_worker_is_killed_nothing_is_left_over(
    start_export: StartExport, s3: ObjectStore, held_at: bytes, ended: str
) -> None:
    """SIGKILL, so nobody cleans up: another worker ends the export, or removes what there is of a canceled one."""
    with Gate(port_of(s3), holds_at=held_at) as gate:
        victim = start_export(S3_ENDPOINT=f"http://127.0.0.1:{gate.port}")
        job_id = victim.create(granularity="hourly")["jobId"]
        gate.wait_until_reached()
        assert victim.show(job_id)["status"] == "running"
        victim.process.kill()
    key = f"analytics/exports/{victim.org_id}/{job_id}.csv"
    assert unfinished_uploads(s3, f"{key}.manifest.json") == 1

    if ended == "succeeded":
        heir = start_export()
        job = heir.wait_for(job_id, ended)
        assert job["attempts"] == 2
        assert_one_right_object(heir, job, s3)
    else:
        keeper = start_export(EXPORT_WORKER_CONCURRENCY="0")
        assert keeper.request("DELETE", f"/{job_id}").json()["status"] == ended
        eventually(lambda: not [each for each in objects(s3) if job_id in each], PATIENCE_S)
    eventually(lambda: unfinished_uploads(s3, key) + unfinished_uploads(s3, f"{key}.manifest.json") == 0, PATIENCE_S)


@pytest.mark.parametrize("frozen_at_bytes", [0, MIDDLE_BYTES], ids=["before its upload", "in its upload"])
def test_a_frozen_worker_that_comes_back_changes_nothing(
    start_export: StartExport, s3: ObjectStore, frozen_at_bytes: int
) -> None:
    """It still believes in its lease. An upload that it had begun was revoked; one that it begins later is not
    completed, because it asks for its lease once more before."""
    with Gate(port_of(s3), frozen_at_bytes) as gate:
        zombie = start_export(S3_ENDPOINT=f"http://127.0.0.1:{gate.port}")
        job_id = zombie.create(granularity="hourly")["jobId"]
        gate.wait_until_reached()
        eventually(lambda: zombie.show(job_id)["status"] == "running")
        zombie.process.freeze()
        heir = start_export()
        # Frozen in the middle of a transaction it keeps its row until PostgreSQL ends its session, after 60 s.
        job = heir.wait_for(job_id, "succeeded", patience_s=90)

        gate.open()
        zombie.process.thaw()
        eventually(lambda: "export_lease_lost" in zombie.process.log(), patience_s=60)

    assert heir.show(job_id) == job
    assert_one_right_object(heir, job, s3)


def test_a_stopped_worker_hands_its_export_back(start_export: StartExport, gate: Gate, s3: ObjectStore) -> None:
    """SIGTERM during a deployment: the job goes on elsewhere at once, and the attempt does not count."""
    with gate:
        leaver = start_export(S3_ENDPOINT=f"http://127.0.0.1:{gate.port}", EXPORT_LEASE="60s")
        job_id = leaver.create(granularity="hourly")["jobId"]
        gate.wait_until_reached()
        # Kubernetes kills after 30 s; the hanging storage must not keep the process.
        exit_code = leaver.process.stop(patience_s=25)

        heir = start_export()
        job = heir.wait_for(job_id, "succeeded")

    assert exit_code == 0
    assert job["attempts"] == 1
    assert_one_right_object(heir, job, s3)


def test_two_replicas_share_the_queue_and_run_each_job_once(
    start_export: StartExport, crash_database: Database, s3: ObjectStore
) -> None:
    """Attempts and log lines tell how often a job was run."""
    replicas = [start_export(EXPORT_LEASE="60s") for _ in range(2)]
    created = {replicas[n % 2].create(granularity="monthly")["jobId"] for n in range(20)}

    jobs = [replicas[0].wait_for(job_id, "succeeded") for job_id in created]

    assert {job["attempts"] for job in jobs} == {1}
    started = [replica.process.log().count("export_started") for replica in replicas]
    assert sum(started) == 20
    assert all(started), started


def test_an_export_survives_a_database_that_drops_its_connections(
    start_export: StartExport, gate: Gate, crash_database: Database, s3: ObjectStore
) -> None:
    """A failover in the middle of reading: the attempt fails, the next one has the file."""
    with gate:
        api = start_export(S3_ENDPOINT=f"http://127.0.0.1:{gate.port}", EXPORT_LEASE="60s")
        job_id = api.create(granularity="hourly")["jobId"]
        gate.wait_until_reached()
        with psycopg.connect(crash_database.superuser_dsn) as connection:
            dropped = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = 'analytics_export'"
            ).fetchone()
        gate.open()
        job = api.wait_for(job_id, "succeeded")

        assert dropped is not None
        assert dropped[0] >= 2
        assert job["attempts"] == 2
        assert_one_right_object(api, job, s3)


def test_the_service_outlives_a_database_that_drops_every_connection_again_and_again(
    start_export: StartExport, crash_database: Database
) -> None:
    """Drivers raise many things at such a moment; none of them may end the process or lose a job."""
    # The pause keeps one job from using up its attempts while the test lasts.
    api = start_export(EXPORT_RETRY_DELAY="1s")
    created = []
    with psycopg.connect(crash_database.superuser_dsn, autocommit=True) as superuser:
        for _ in range(30):
            response = api.request(
                "POST", json={"timeRange": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}}
            )
            assert response.status_code in {202, 503}, response.text
            created += [response.json()["jobId"]] if response.status_code == 202 else []
            superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = 'analytics_export'"
            )

    assert len(created) > 10
    assert {api.wait_for(job_id, "succeeded", patience_s=60)["rowCount"] for job_id in created} == {0}
    assert api.process.exit_code is None
