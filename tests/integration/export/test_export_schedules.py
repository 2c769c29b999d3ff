"""Schedules as their owners see them: each period once, whoever restarts, and not before its numbers are final."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest

from tests.integration.export.running import CREATE, READ, ExportApi, environment
from tests.integration.export.storages import objects
from tests.support.callers import token
from tests.support.polling import eventually
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

PATIENCE_S = 60
StartExport = Callable[..., ExportApi]


@pytest.fixture
def own_database(make_database: Callable[..., Database]) -> Database:
    return make_database()


@pytest.fixture
def start_export(
    own_database: Database,
    rabbitmq: RabbitMq,
    s3: ObjectStore,
    free_port: Callable[[], int],
    service_processes: ServiceProcesses,
) -> StartExport:
    """Starts a replica."""
    org_id = uuid4()

    def start(**variables: str) -> ExportApi:
        overrides = {"EXPORT_WORKER_INTERVAL": "200ms", "EXPORT_SCHEDULE_DEADLINE": "0s", **variables}
        env = environment(own_database, rabbitmq, s3, free_port(), overrides)
        return ExportApi(service_processes.start("analytics-export", env), org_id)

    return start


def ask(api: ExportApi, method: str, path: str = "", *roles: str, **arguments: Any) -> httpx.Response:
    bearer = token(*(roles or ("org:admin",)), orgs=[api.org_id])
    return api.send(method, f"/orgs/{api.org_id}/export-schedules{path}", bearer, **arguments)


def scheduled(api: ExportApi, **fields: Any) -> dict[str, Any]:
    body = {"name": "Finance", "cron": "monthly", "export": {"granularity": "daily"}} | fields
    response = ask(api, "POST", json=body)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def made(api: ExportApi, schedule: dict[str, Any]) -> list[dict[str, Any]]:
    """The exports of a schedule, oldest period first."""
    jobs = api.request("GET", "?limit=200").json()["items"]
    mine = [job for job in jobs if job["scheduleId"] == schedule["scheduleId"]]
    return sorted(mine, key=lambda job: str(job["timeRange"]["start"]))


def days_ago(days: int, zone: str = "UTC") -> str:
    """At this time of the zone's day: across a change of its clocks, 24 hours a day would miss a midnight."""
    return (datetime.now(ZoneInfo(zone)) - timedelta(days=days)).astimezone(UTC).isoformat()


def test_missed_periods_are_made_up_for_once_by_several_replicas(start_export: StartExport, s3: ObjectStore) -> None:
    """Three replicas, one of which dies on the way: 40 days, 40 exports, and no more after that."""
    replicas = [start_export() for _ in range(3)]
    zone = "Europe/Berlin"
    schedule = scheduled(
        replicas[0], cron="daily", start=days_ago(40, zone), export={"granularity": "hourly", "timezone": zone}
    )
    eventually(lambda: len(made(replicas[0], schedule)) > 3, PATIENCE_S)
    replicas[2].process.kill()
    eventually(
        lambda: ask(replicas[0], "GET", f"/{schedule['scheduleId']}").json()["nextRun"]["periodEnd"] > days_ago(0)
    )

    jobs = made(replicas[0], schedule)
    ranges = [(job["timeRange"]["start"], job["timeRange"]["end"]) for job in jobs]

    assert len(jobs) == 40
    assert [end for _, end in ranges[:-1]] == [start for start, _ in ranges[1:]]
    last = replicas[0].wait_for(jobs[-1]["jobId"], "succeeded", PATIENCE_S)
    day = ask(replicas[0], "GET", f"/{schedule['scheduleId']}").json()["lastRun"]
    assert (day["jobId"], day["status"], day["confidence"]) == (last["jobId"], "succeeded", "estimated")
    assert any(f"/{replicas[0].org_id}/2" in key and key.endswith(f"-{last['jobId']}.csv") for key in objects(s3))


def test_a_period_waits_until_its_numbers_are_final(start_export: StartExport, own_database: Database) -> None:
    """Not at its end, but when everything up to 15 minutes after it is visible; the file says so."""
    api = start_export(EXPORT_SCHEDULE_DEADLINE="720h")
    schedule = scheduled(api, cron="daily", start=days_ago(1))
    end = datetime.fromisoformat(schedule["nextRun"]["periodEnd"])
    see_through(own_database, end + timedelta(minutes=14))
    api.finished()  # the loops have been round meanwhile
    waiting = made(api, schedule)

    see_through(own_database, end + timedelta(minutes=16))
    eventually(lambda: made(api, schedule), PATIENCE_S)

    assert waiting == []
    job = api.wait_for(made(api, schedule)[0]["jobId"], "succeeded", PATIENCE_S)
    assert job["confidence"] == "finalized"


def see_through(database: Database, moment: datetime) -> None:
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(
            "INSERT INTO analytics.stream_offsets (stream, partition, accepted_through) VALUES ('s', 0, %s)"
            " ON CONFLICT (stream, partition) DO UPDATE SET accepted_through = EXCLUDED.accepted_through",
            [moment],
        )


def test_a_schedule_is_changed_paused_and_deleted(start_export: StartExport) -> None:
    """What was left out stays; the period under way keeps its start; a deleted one's name is free again."""
    api = start_export()
    schedule = scheduled(api)
    path = f"/{schedule['scheduleId']}"

    changed = ask(api, "PATCH", path, json={"cron": "daily", "export": {"format": "jsonl"}}).json()
    paused = ask(api, "PATCH", path, json={"enabled": False}).json()

    assert changed["name"] == "Finance"
    assert changed["export"]["format"] == "jsonl"
    assert changed["nextRun"]["periodStart"] == schedule["nextRun"]["periodStart"]
    assert changed["nextRun"]["periodEnd"] < schedule["nextRun"]["periodEnd"]
    assert (paused["enabled"], paused["nextRun"], paused["cron"]) == (False, None, "daily")
    taken = ask(api, "POST", json={"name": "Finance", "cron": "daily"})
    assert (taken.status_code, taken.json()["detail"]) == (
        409, "there is a schedule named 'Finance' already: change it"
    )  # fmt: skip
    assert [each["name"] for each in ask(api, "GET").json()["items"]] == ["Finance"]
    assert ask(api, "DELETE", path).status_code == 204
    assert [ask(api, method, path, json={}).status_code for method in ("GET", "PATCH", "DELETE")] == [404, 404, 404]
    assert scheduled(api)["scheduleId"] != schedule["scheduleId"]


def test_a_schedule_outlives_its_maker_and_is_taken_over_by_whoever_changes_it(
    start_export: StartExport, own_database: Database
) -> None:
    """It belongs to the organisation: its exports go on, in the name of the last one who may and did touch it."""
    api = start_export()
    everything = f"/orgs/{api.org_id}/export-schedules"
    ada, grace = (token(CREATE, READ, orgs=[api.org_id], subject=name) for name in ("ada", "grace"))
    left = token(READ, orgs=[api.org_id], subject="ada")
    body = {"name": "Finance", "cron": "daily", "start": days_ago(1)}
    schedule = api.send("POST", everything, ada, json=body).json()
    eventually(lambda: made(api, schedule), PATIENCE_S)

    refused = api.send("PATCH", f"{everything}/{schedule['scheduleId']}", left, json={})
    taken_over = api.send("PATCH", f"{everything}/{schedule['scheduleId']}", grace, json={}).json()
    with psycopg.connect(own_database.owner_dsn) as connection:  # a day has gone by
        connection.execute(
            "UPDATE analytics.export_schedules SET period_start = period_start - interval '2 days',"
            " period_end = period_end - interval '2 days'"
        )
    eventually(lambda: len(made(api, schedule)) > 1, PATIENCE_S)
    with psycopg.connect(own_database.owner_dsn) as connection:
        audited = connection.execute(
            "SELECT subject, method, decision FROM analytics.audit_log WHERE path = %s ORDER BY audit_id",
            [f"/analytics/v1{everything}/{schedule['scheduleId']}"],
        ).fetchall()

    assert (schedule["createdBy"], schedule["updatedBy"]) == ("ada", "ada")
    assert refused.status_code == 403
    assert (taken_over["createdBy"], taken_over["updatedBy"]) == ("ada", "grace")
    assert {job["initiatedBy"] for job in made(api, schedule)} == {"ada", "grace"}
    assert audited == [("ada", "PATCH", "deny"), ("grace", "PATCH", "allow")]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cron": "*/5 * * * *"}, "cron"),
        ({"cron": "soon"}, "cron"),
        ({"cron": "0 0 1 1 *"}, "cron"),
        ({"export": {"timezone": "Mars/Olympus"}}, "export.timezone"),
        ({"export": {"format": "xlsx"}}, "export.format"),
        ({"export": {"template": "mine"}}, "export.template"),
        ({"delivery": {"bucket": "mine"}}, "delivery.bucket"),
        ({"delivery": {"prefix": "mine"}}, "delivery.prefix"),
        ({"webhook": {"url": "https://example.com/"}}, "webhook.url"),
        ({"start": "1999-01-01T00:00:00Z"}, "start"),
        ({"export": {"models": ["gtp-4o"]}}, "export.models[0]"),
        ({"export": {"filters": {"modelId": ["gtp-4o"]}}}, "export.filters.modelId[0]"),
        ({"cron": "weekly", "export": {"template": "finance-summary"}}, "cron"),
        ({"name": ""}, "name"),
    ],
)
def test_a_wrong_schedule_is_refused_by_its_field(exports: ExportApi, fields: dict[str, Any], field: str) -> None:
    """When it is made, not in the night of the first."""
    refused = ask(exports, "POST", json={"name": "x", "cron": "monthly"} | fields)

    assert refused.status_code == 422, refused.text
    assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize("model", ["gtp-4o", "\0"])
def test_a_schedule_is_not_changed_to_a_model_that_was_never_used(exports: ExportApi, model: str) -> None:
    """Each of its files would be empty and look right."""
    schedule = scheduled(exports)
    path = f"/{schedule['scheduleId']}"

    refused = ask(exports, "PATCH", path, json={"export": {"models": [model]}})

    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["export.models[0]"]
    assert ask(exports, "GET", path).json() == schedule


def test_who_may_do_what_with_schedules(exports: ExportApi) -> None:
    """Readers read, creators change, strangers find nothing; every decision is audited by the same guard."""
    schedule = scheduled(exports)
    path = f"/{schedule['scheduleId']}"
    stranger = ExportApi(exports.process, UUID(int=7))

    assert ask(exports, "GET", path, READ).status_code == 200
    assert ask(exports, "DELETE", path, READ).status_code == 403
    assert ask(exports, "GET", path, CREATE).status_code == 403
    assert ask(stranger, "GET", path).status_code == 404
    assert ask(exports, "DELETE", path, CREATE).status_code == 204
