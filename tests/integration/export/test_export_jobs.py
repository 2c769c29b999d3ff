"""What callers can do with a job beside creating and fetching it: repeat, cancel, follow, and see it expire."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.crash.export.gate import Gate
from tests.integration.export.running import CREATE, READ, ExportApi, environment
from tests.integration.export.storages import objects
from tests.support.callers import token
from tests.support.polling import eventually
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

BODY = {"timeRange": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}}
StartExport = Callable[..., ExportApi]


@pytest.fixture
def start_export(
    make_database: Callable[..., Database],
    rabbitmq: RabbitMq,
    s3: ObjectStore,
    free_port: Callable[[], int],
    service_processes: ServiceProcesses,
) -> StartExport:
    """Starts the service on a database of its own."""

    def start(**variables: str) -> ExportApi:
        env = environment(make_database(), rabbitmq, s3, free_port(), {"EXPORT_WORKER_INTERVAL": "200ms", **variables})
        return ExportApi(service_processes.start("analytics-export", env), uuid4())

    return start


@pytest.fixture
def held_storage(s3: ObjectStore) -> Iterator[Gate]:
    """A storage that does not answer before the test lets it."""
    with Gate(int(s3.endpoint.rpartition(":")[2]), 0) as gate:
        yield gate


def post(api: ExportApi, key: str, body: dict[str, Any]) -> httpx.Response:
    bearer = token(CREATE, orgs=[api.org_id])
    url = f"{api.process.url}/analytics/v1/orgs/{api.org_id}/exports"
    headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": key}
    return httpx.post(url, json=body, headers=headers, timeout=30, trust_env=False)


def test_a_repeated_request_gets_the_same_export(exports: ExportApi) -> None:
    """A client that lost the answer sends the request again, perhaps ten times at once."""
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(post(exports, "march", BODY))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len(exports.request("GET").json()["items"]) == 1


def test_a_key_stands_for_one_body_of_one_organisation(exports: ExportApi) -> None:
    """Another body under the same key is a mistake of the caller's, another organisation's key another key."""
    first = post(exports, "k", BODY)
    other_body = post(exports, "k", BODY | {"granularity": "hourly"})
    other_org = post(ExportApi(exports.process, uuid4()), "k", BODY)

    assert other_body.status_code == 422
    assert other_body.json()["errors"][0]["field"] == "Idempotency-Key"
    assert first.json()["jobId"] in other_body.json()["detail"]
    assert other_org.json()["jobId"] != first.json()["jobId"]
    assert post(exports, "x" * 256, BODY).status_code == 422


def test_a_waiting_export_is_canceled(start_export: StartExport) -> None:
    """Nobody works here, so it would wait for ever."""
    api = start_export(EXPORT_WORKER_CONCURRENCY="0")
    job_id = api.create()["jobId"]

    canceled = api.request("DELETE", f"/{job_id}", roles=(CREATE,))
    again = api.request("DELETE", f"/{job_id}")

    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert canceled.json()["completedAt"] is not None
    assert again.json()["completedAt"] == canceled.json()["completedAt"]
    assert api.request("DELETE", f"/{uuid4()}").status_code == 404
    assert api.request("DELETE", f"/{job_id}", roles=(READ,)).status_code == 403
    assert api.request("GET", f"/{job_id}/download").status_code == 409


def test_a_running_export_stops_when_it_is_canceled(
    start_export: StartExport, held_storage: Gate, s3: ObjectStore
) -> None:
    """At once, although the storage hangs; and nothing of it is found in the storage afterwards."""
    api = start_export(S3_ENDPOINT=f"http://127.0.0.1:{held_storage.port}", EXPORT_LEASE="60s")
    job_id = api.create()["jobId"]
    held_storage.wait_until_reached()
    eventually(lambda: api.show(job_id)["status"] == "running")

    assert api.request("DELETE", f"/{job_id}").json()["status"] == "canceled"
    eventually(lambda: "export_canceled" in api.process.log())
    held_storage.open()

    done = api.finished()  # the worker is free for the next one
    eventually(lambda: unclean(api) == 0)
    assert api.request("DELETE", f"/{done['jobId']}").status_code == 409
    assert [key for key in objects(s3) if job_id in key] == []


def unclean(api: ExportApi) -> float:
    metrics = httpx.get(f"{api.process.url}/metrics", trust_env=False).text
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith("analytics_export_unclean"))


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_an_export_is_followed_to_its_end(start_export: StartExport, held_storage: Gate) -> None:
    """From the first event, which comes at once, to the last, after which the stream ends."""
    api = start_export(S3_ENDPOINT=f"http://127.0.0.1:{held_storage.port}")
    job_id = api.create()["jobId"]
    held_storage.wait_until_reached()
    headers = {"Authorization": f"Bearer {token(READ, orgs=[api.org_id])}", "Accept-Encoding": "gzip"}
    url = f"{api.process.url}/analytics/v1/orgs/{api.org_id}/exports/{job_id}/events"

    with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as response:
        events = events_of(response)
        first = next(events)
        held_storage.open()
        rest = list(events)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert first["status"] in {"pending", "running"}
    assert rest[-1] == api.show(job_id)
    assert (rest[-1]["status"], rest[-1]["progress"]["bytes"]) == ("succeeded", rest[-1]["sizeBytes"])
    assert api.request("GET", f"/{uuid4()}/events").status_code == 404


def test_a_file_expires_and_its_export_says_so(start_export: StartExport, s3: ObjectStore) -> None:
    """File and manifest are gone, the record stays; the quota of the organisation is free again."""
    api = start_export(EXPORT_RETENTION="1s", EXPORT_ORG_BYTES_MAX="1")
    job = api.create()
    eventually(lambda: api.show(job["jobId"])["status"] == "expired")
    done = api.show(job["jobId"])

    eventually(lambda: [key for key in objects(s3) if job["jobId"] in key] == [])
    assert done["checksum"] is not None
    assert done["expiresAt"] is not None
    assert done["links"]["download"] is None
    assert api.request("GET", f"/{job['jobId']}/download").status_code == 409
    assert api.request("POST", json=BODY).status_code == 202


def test_an_organisation_that_keeps_too_much_is_told(start_export: StartExport) -> None:
    """429 with the numbers, for this organisation alone."""
    api = start_export(EXPORT_ORG_BYTES_MAX="1")
    api.finished()

    refused = api.request("POST", json=BODY)

    assert refused.status_code == 429
    assert "bytes of exports are kept" in refused.json()["detail"]
    assert ExportApi(api.process, uuid4()).finished()["status"] == "succeeded"


def test_a_file_that_gets_too_large_fails_with_the_reason(start_export: StartExport, s3: ObjectStore) -> None:
    """At once: another attempt would be as large."""
    api = start_export(EXPORT_BYTES_MAX="10")

    job = api.wait_for(api.create()["jobId"], "failed")

    assert (job["error"]["code"], job["attempts"]) == ("too_large", 1)
    eventually(lambda: [key for key in objects(s3) if job["jobId"] in key] == [])


@pytest.mark.parametrize(
    ("delivery", "field"), [({"bucket": "mine"}, "delivery.bucket"), ({"prefix": "elsewhere"}, "delivery.prefix")]
)
def test_only_allowed_places_are_written_to(exports: ExportApi, delivery: dict[str, str], field: str) -> None:
    """The refusal names the field and what was given."""
    refused = exports.request("POST", json=BODY | {"delivery": {"type": "s3", **delivery}})

    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert next(iter(delivery.values())) in refused.json()["detail"]


def test_an_export_goes_to_the_prefix_that_was_asked_for(start_export: StartExport, s3: ObjectStore) -> None:
    """One of those that the operator allows."""
    api = start_export(EXPORT_PREFIXES="analytics/exports, finance")

    job = api.finished(delivery={"type": "s3", "prefix": "finance"})

    assert f"finance/{api.org_id}/{job['jobId']}.csv" in objects(s3)
