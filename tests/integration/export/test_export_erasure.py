"""What was exported is erased with the rest: nothing of it stays in the storage, and the trail says who asked."""

import asyncio
import io
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from analytics_core.access import scope_for_accepted_job
from analytics_core.database import WriteDatabase
from analytics_core.sql import load_queries
from tests.integration.export.finance import Finance
from tests.integration.export.running import ExportApi
from tests.integration.export.storages import objects, unfinished_uploads
from tests.support.callers import token
from tests.support.stack import ObjectStore


def erase(finance: Finance, *arguments: str) -> tuple[int, str]:
    command = [str(Path(sys.prefix) / "bin/analytics-export"), "erase", "--org", str(finance.api.org_id), *arguments]
    done = subprocess.run(command, env=finance.env, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_nothing_of_an_erased_organisation_stays(finance: Finance, s3: ObjectStore) -> None:
    """Files, manifests, left uploads, objects that no job knows of, schedules; another organisation's stay."""
    api, other = finance.api, ExportApi(finance.api.process, uuid4())
    theirs = other.finished()
    job = api.finished()
    key = f"analytics/exports/{api.org_id}/{job['jobId']}.csv"
    s3.client._create_multipart_upload(s3.bucket, key, {})
    s3.client.put_object(s3.bucket, f"analytics/exports/{api.org_id}/old.csv", io.BytesIO(b"x"), 1)
    schedules = f"/orgs/{api.org_id}/export-schedules"
    bearer = token("org:admin", orgs=[api.org_id])
    assert api.send("POST", schedules, bearer, json={"name": "x", "cron": "monthly"}).status_code == 201

    counted = erase(finance, "--dry-run")
    kept = objects(s3)
    erased = erase(finance, "--requested-by", "ada")
    again = erase(finance, "--requested-by", "ada")

    assert counted == (0, "The files of 1 exports would be erased.\n")
    assert key in kept
    assert erased == (0, "Erased the files of 1 exports, and 1 objects that belonged to none.\n")
    assert again == (0, "Erased the files of 0 exports.\n")
    assert [each for each in objects(s3) if str(api.org_id) in each] == []
    assert unfinished_uploads(s3, key) == 0
    assert api.show(job["jobId"])["status"] == "expired"
    assert api.request("GET", f"/{job['jobId']}/download").status_code == 409
    assert api.send("GET", schedules, bearer).json()["items"] == []
    assert other.download(theirs).status_code == 200
    with psycopg.connect(finance.database.owner_dsn) as connection:
        audit = connection.execute(
            "SELECT subject, reason FROM analytics.audit_log WHERE org_id = %s AND action = 'org:erase'"
            " ORDER BY audit_id",
            [api.org_id],
        ).fetchall()
    assert [subject for subject, _ in audit] == ["ada"] * 4
    assert audit[1][1].endswith("the organisation completed: 1 exports, 1 objects without one")


def test_files_that_may_name_an_actor_are_erased_and_the_others_stay(finance: Finance, s3: ObjectStore) -> None:
    """Raw events and rows by actor name everybody; sums name nobody, unless they were asked for by name."""
    api, actor = finance.api, "somebody"
    naming = [
        api.finished(granularity="events"),
        api.finished(granularity="daily", groupBy=["actor"]),
        api.finished(granularity="monthly", filters={"actorId": [actor]}),
    ]
    silent = [api.finished(granularity="daily"), api.finished(filters={"actorId": ["another"]})]

    code, said = erase(finance, "--actor", actor)

    assert (code, said) == (0, "Erased the files of 3 exports.\n")
    assert [api.show(job["jobId"])["status"] for job in naming] == ["expired"] * 3
    assert [api.download(job).status_code for job in silent] == [200, 200]
    with psycopg.connect(finance.database.owner_dsn) as connection:
        reasons = connection.execute(
            "SELECT reason FROM analytics.audit_log WHERE org_id = %s AND action = 'org:erase'", [api.org_id]
        ).fetchall()
    assert actor not in str(reasons)


def test_an_erased_actor_is_named_by_no_filter(finance: Finance) -> None:
    """Neither by exports that have ended nor by schedules, which go on for others alone."""
    api, actor = finance.api, "somebody"
    bearer, schedules = token("org:admin", orgs=[api.org_id]), f"/orgs/{api.org_id}/export-schedules"
    job = api.finished(filters={"actorId": [actor, "another"], "status": ["error"]})
    for name, actors in {"one": [actor], "two": ["another", actor], "other": ["another"]}.items():
        body = {"name": name, "cron": "monthly", "export": {"filters": {"actorId": actors}}}
        assert api.send("POST", schedules, bearer, json=body).status_code == 201

    codes = [erase(finance, "--actor", actor)[0] for _ in range(2)]

    assert codes == [0, 0]
    assert api.show(job["jobId"])["filters"] == {"actorId": ["another", "erased"], "status": ["error"]}
    items = api.send("GET", schedules, bearer).json()["items"]
    left = {item["name"]: item["export"]["filters"]["actorId"] for item in items}
    assert left == {"two": ["another", "erased"], "other": ["another"]}
    with psycopg.connect(finance.database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT job::text FROM analytics.export_jobs AS job"
            " UNION ALL SELECT schedule::text FROM analytics.export_schedules AS schedule"
        ).fetchall()
    assert actor not in str(rows)


def test_a_schedule_that_goes_on_stays_in_the_name_of_who_changed_it_last(finance: Finance) -> None:
    """Its exports are made in that name; whoever erases has not asked for any."""
    api = finance.api
    bearer, schedules = token("org:admin", orgs=[api.org_id]), f"/orgs/{api.org_id}/export-schedules"
    body = {"name": "two", "cron": "monthly", "export": {"filters": {"actorId": ["another", "somebody"]}}}
    made = api.send("POST", schedules, bearer, json=body).json()

    assert erase(finance, "--actor", "somebody", "--requested-by", "root")[0] == 0
    (left,) = api.send("GET", schedules, bearer).json()["items"]
    assert left["updatedBy"] == made["updatedBy"] != "root"


async def test_an_export_that_was_made_meanwhile_is_found_by_the_next_erasure(finance: Finance) -> None:
    """It keeps the actor's name until its file is gone: by that name it is found."""
    api, actor = finance.api, "somebody"
    job = await asyncio.to_thread(api.finished, filters={"actorId": [actor]})
    forget = load_queries("analytics_export", "erasure")["forget_actor"]
    dsn = finance.database.dsn("analytics_export")
    async with (
        WriteDatabase.open(dsn, application_name="test", pool_size=1) as database,
        database.write(scope_for_accepted_job(api.org_id)) as session,
    ):
        await session.execute(forget, api.org_id, actor)

    assert api.show(job["jobId"])["filters"] == {"actorId": [actor]}
    assert await asyncio.to_thread(erase, finance, "--actor", actor) == (0, "Erased the files of 1 exports.\n")
    assert api.show(job["jobId"])["filters"] == {"actorId": ["erased"]}


@pytest.mark.parametrize("broken", [{"S3_SECRET_KEY": "a-wrong-one"}, {"DATABASE_URL": "postgres://a:b@127.0.0.1:9/c"}])
def test_what_cannot_be_erased_is_said(finance: Finance, broken: dict[str, str]) -> None:
    """Exit code 1 and the variable; asked again, it goes on."""
    job = finance.api.finished()
    env = finance.env
    finance.env = env | broken
    refused = erase(finance)
    finance.env = env

    assert refused[0] == 1
    assert next(iter(broken)).split("_")[0] in refused[1]
    assert "a-wrong-one" not in refused[1]
    assert erase(finance)[0] == 0
    assert finance.api.show(job["jobId"])["status"] == "expired"
