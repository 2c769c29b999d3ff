"""The HTTP side: refusals that name the field, the list with its cursor, answers before there is a file."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.integration.export.running import ExportApi, environment
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

RANGE = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-05T00:00:00Z"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "body"),
        ([], "body"),
        ({}, "timeRange"),
        ({"timeRange": {"start": RANGE["start"]}}, "timeRange.end"),
        ({"timeRange": {**RANGE, "start": "yesterday"}}, "timeRange.start"),
        ({"timeRange": {**RANGE, "end": "2026-03-05T00:00:00"}}, "timeRange.end"),
        ({"timeRange": {**RANGE, "zone": "UTC"}}, "timeRange.zone"),
        ({"timeRange": RANGE, "granuality": "daily"}, "granuality"),
        ({"timeRange": RANGE, "granularity": "weekly"}, "granularity"),
        ({"timeRange": RANGE, "format": "xlsx"}, "format"),
        ({"timeRange": RANGE, "models": "gpt-4o"}, "models"),
        ({"timeRange": RANGE, "models": ["m"] * 101}, "models"),
        ({"timeRange": RANGE, "models": ["m", ""]}, "models[1]"),
        ({"timeRange": RANGE, "models": ["m" * 201]}, "models[0]"),
        ({"timeRange": RANGE, "delivery": {"type": "ftp"}}, "delivery.type"),
        ({"timeRange": RANGE, "delivery": {"type": "s3", "bucket": "mine"}}, "delivery.bucket"),
        ({"timeRange": {"start": RANGE["end"], "end": RANGE["start"]}}, "timeRange.end"),
        ({"timeRange": {**RANGE, "end": "2026-05-05T00:00:00Z"}}, "timeRange"),
    ],
)
def test_a_refusal_names_the_field(exports: ExportApi, body: Any, field: str) -> None:
    """Problem+json with the name as the caller wrote it; nothing is queued."""
    response = exports.request("POST", json=body)
    problem = response.json()

    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert field in problem["detail"]
    assert exports.request("GET").json()["items"] == []


def test_another_bucket_is_refused_by_its_owners_name(exports: ExportApi, s3: ObjectStore) -> None:
    """The caller learns which bucket would do."""
    body = {"timeRange": RANGE, "delivery": {"type": "s3", "bucket": "mine"}}

    assert repr(s3.bucket) in exports.request("POST", json=body).json()["detail"]


def test_pages_follow_each_other_newest_first(exports: ExportApi) -> None:
    """Every export once, also when new ones arrive while somebody pages."""
    created = [exports.create()["jobId"] for _ in range(5)]
    first = exports.request("GET", params={"limit": 2}).json()
    exports.create()
    second = exports.request("GET", params={"limit": 2, "cursor": first["nextCursor"]}).json()
    third = exports.request("GET", params={"limit": 2, "cursor": second["nextCursor"]}).json()

    listed = [job["jobId"] for page in (first, second, third) for job in page["items"]]

    assert listed == created[::-1]
    assert third["nextCursor"] is None


def test_exports_of_the_same_microsecond_are_not_skipped(exports: ExportApi, database: Database) -> None:
    """The id decides between equal times, in the list and in the cursor alike."""
    for _ in range(4):
        exports.create()
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(
            "UPDATE analytics.export_jobs SET created_at = '2026-01-01' WHERE org_id = %s", (exports.org_id,)
        )

    first = exports.request("GET", params={"limit": 3}).json()
    rest = exports.request("GET", params={"limit": 3, "cursor": first["nextCursor"]}).json()

    assert len({job["jobId"] for job in first["items"] + rest["items"]}) == 4


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"limit": "all"}, "limit"),
        ({"cursor": "abc"}, "cursor"),
        ({"status": "failed"}, "status"),
    ],
)
def test_a_wrong_parameter_of_the_list_is_named(exports: ExportApi, parameters: dict[str, Any], field: str) -> None:
    """As in bodies."""
    response = exports.request("GET", params=parameters)

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.fixture
def idle_exports(
    make_database: Callable[..., Database],
    make_rabbitmq: Callable[[], RabbitMq],
    s3: ObjectStore,
    free_port: Callable[[], int],
    service_processes: ServiceProcesses,
) -> ExportApi:
    """A service without workers, so that its jobs stay as they are."""
    variables = environment(make_database(), make_rabbitmq(), s3, free_port(), {"EXPORT_WORKER_CONCURRENCY": "0"})
    return ExportApi(service_processes.start("analytics-export", variables), uuid4())


def test_there_is_no_file_before_the_export_has_succeeded(idle_exports: ExportApi) -> None:
    """409 says that the request is fine and the time is not."""
    response = idle_exports.request("GET", f"/{idle_exports.create()['jobId']}/download")

    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert "waiting" in response.json()["detail"]


def test_one_organisation_cannot_fill_the_queue(idle_exports: ExportApi) -> None:
    """The queue is shared: at its limit an organisation is told to wait, others go on."""
    for _ in range(100):
        idle_exports.create()

    refused = idle_exports.request("POST", json={"timeRange": RANGE})

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert ExportApi(idle_exports.process, uuid4()).create()["status"] == "pending"
