"""A storage that breaks in the middle of an upload: tried again so often, said clearly, nothing left over."""

import re
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import httpx
import pytest

from analytics_export.limits import ATTEMPTS_MAX, S3_REQUEST_RETRIES
from tests.integration.export.running import HOURS_OF_MARCH, ExportApi, environment, fill_march
from tests.integration.export.s3_faults import Fault, Handler, S3Proxy, answers, delays, resets, s3_proxy
from tests.integration.export.storages import objects, unfinished_uploads
from tests.integration.export.test_export_memory import GROWTH_MAX_MIB, peak_mib
from tests.support.polling import eventually
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

MODELS = 130  # 96,720 rows, 13 MB, three parts
PATIENCE_S = 120
SECOND_PART = ".csv?partNumber=2&"
TRIED_AGAIN = 1 + S3_REQUEST_RETRIES
Fails = Callable[[Handler], None]


@pytest.fixture(scope="module")
def proxy(s3: ObjectStore) -> Iterator[S3Proxy]:
    with s3_proxy(s3) as listening:
        yield listening


@pytest.fixture(scope="module")
def service(
    make_database: Callable[..., Database],
    rabbitmq: RabbitMq,
    s3: ObjectStore,
    proxy: S3Proxy,
    free_port: Callable[[], int],
) -> Iterator[ExportApi]:
    """Behind the proxy, with an organisation that has a file of several parts."""
    database, org_id = make_database(), uuid4()
    fill_march(database, org_id, MODELS)
    overrides = {"S3_ENDPOINT": proxy.url, "S3_PUBLIC_ENDPOINT": s3.endpoint, "EXPORT_WORKER_INTERVAL": "200ms"}
    with ServiceProcesses() as processes:
        process = processes.start("analytics-export", environment(database, rabbitmq, s3, free_port(), overrides))
        yield ExportApi(process, org_id)


def counted(api: ExportApi, name: str) -> float:
    text = httpx.get(f"{api.process.url}/metrics", trust_env=False).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])


def keys_of(org_id: UUID, job_id: str) -> tuple[str, str]:
    key = f"analytics/exports/{org_id}/{job_id}.csv"
    return key, f"{key}.manifest.json"


@pytest.mark.parametrize(
    ("fails", "code", "requests_an_attempt"),
    [
        (answers(500, "InternalError"), "storage_unavailable", TRIED_AGAIN),
        (resets, "storage_unavailable", TRIED_AGAIN),
        (answers(403, "SignatureDoesNotMatch"), "storage_denied", 1),
        (answers(507, None), "storage_full", 1),
        (answers(403, "QuotaExceeded"), "storage_full", 1),
        (answers(400, "EntityTooLarge"), "storage_full", 1),
    ],
    ids=["errors", "resets", "key revoked", "disk full", "quota", "too large"],
)
def test_a_storage_that_fails_in_the_middle_of_an_upload(
    service: ExportApi, proxy: S3Proxy, s3: ObjectStore, fails: Fails, code: str, requests_an_attempt: int
) -> None:
    """With the second part, again and again: the job says why, the alert's metric moves, nothing is visible or left."""
    failed = f'analytics_export_jobs_failed_total{{code="{code}"}}'
    attempts = f'analytics_export_attempts_failed_total{{code="{code}"}}'
    before = counted(service, failed), counted(service, attempts)
    proxy.fault = Fault(SECOND_PART, fails)

    job_id = service.create(granularity="hourly")["jobId"]
    job = service.wait_for(job_id, "failed", PATIENCE_S)
    hits, proxy.fault = proxy.fault.hits, None
    keys = keys_of(service.org_id, job_id)

    assert (job["error"]["code"], job["attempts"], job["links"]["download"]) == (code, ATTEMPTS_MAX, None)
    assert hits == ATTEMPTS_MAX * requests_an_attempt
    assert (counted(service, failed), counted(service, attempts)) == (before[0] + 1, before[1] + ATTEMPTS_MAX)
    assert [each for each in objects(s3) if job_id in each] == []
    eventually(lambda: sum(unfinished_uploads(s3, key) for key in keys) == 0, PATIENCE_S)


@pytest.mark.parametrize(
    ("text", "fails", "attempts"),
    [
        (SECOND_PART, answers(503, "SlowDown"), 1),
        (SECOND_PART, resets, 1),
        (".csv?uploadId=", answers(500, "InternalError"), 2),
        (".manifest.json?uploadId=", answers(500, "InternalError"), 2),
    ],
    ids=["busy", "reset", "completing the file", "completing the manifest"],
)
def test_a_storage_that_fails_once_is_asked_again(
    service: ExportApi, proxy: S3Proxy, s3: ObjectStore, text: str, fails: Fails, attempts: int
) -> None:
    """A part within the attempt, what ends an upload with a new one: whether it was done is not known."""
    proxy.fault = Fault(text, fails, times=1)

    job = service.wait_for(service.create(granularity="hourly")["jobId"], "succeeded", PATIENCE_S)

    assert (proxy.fault.hits, job["attempts"], job["error"]) == (1, attempts, None)
    assert job["rowCount"] == HOURS_OF_MARCH * MODELS
    keys = keys_of(service.org_id, job["jobId"])
    assert [each for each in objects(s3) if job["jobId"] in each] == list(keys)
    assert service.request("POST", f"/{job['jobId']}/verify").json()["checks"][0]["result"] == "equal"
    assert sum(unfinished_uploads(s3, key) for key in keys) == 0


def test_a_slow_storage_costs_time_and_no_memory(service: ExportApi, proxy: S3Proxy) -> None:
    """The database waits for the encoder and the encoder for the storage: nothing piles up in between."""
    before = peak_mib(service.process.pid)
    proxy.fault = Fault("?partNumber=", delays(1.0))

    job = service.wait_for(service.create(granularity="hourly")["jobId"], "succeeded", PATIENCE_S)

    assert (job["attempts"], proxy.fault.hits) == (1, 4)
    assert peak_mib(service.process.pid) - before < GROWTH_MAX_MIB
