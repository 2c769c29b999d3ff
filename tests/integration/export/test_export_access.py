"""Who may create, see and fetch an export; what others get to know; what is written down about it."""

from uuid import uuid4

import psycopg
import pytest

from tests.integration.export.running import CREATE, DOWNLOAD, READ, ExportApi
from tests.support.callers import token
from tests.support.stack import Database

BODY = {"timeRange": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}}


def answers(exports: ExportApi, job_id: str, bearer: str | None) -> dict[str, int]:
    """The status of every operation for one caller."""
    base = f"/orgs/{exports.org_id}/exports"
    return {
        "create": exports.send("POST", base, bearer, json=BODY).status_code,
        "list": exports.send("GET", base, bearer).status_code,
        "show": exports.send("GET", f"{base}/{job_id}", bearer).status_code,
        "download": exports.send("GET", f"{base}/{job_id}/download", bearer).status_code,
    }


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (CREATE, {"create": 202}),
        (READ, {"list": 200, "show": 200}),
        (DOWNLOAD, {"download": 302}),
        ("org:admin", {"create": 202, "list": 200, "show": 200, "download": 302}),
        ("analytics:usage:read", {}),
    ],
)
def test_each_operation_has_a_role_of_its_own(exports: ExportApi, role: str, allowed: dict[str, int]) -> None:
    """Who may start an export need not be who may fetch the data."""
    job = exports.finished()

    assert (
        answers(exports, job["jobId"], token(role, orgs=[exports.org_id]))
        == {
            "create": 403,
            "list": 403,
            "show": 403,
            "download": 403,
        }
        | allowed
    )


def test_an_administrator_of_the_platform_may_everything_everywhere(exports: ExportApi) -> None:
    """Support looks into an organisation without being a member."""
    job = exports.finished()

    assert answers(exports, job["jobId"], token("admin")) == {"create": 202, "list": 200, "show": 200, "download": 302}


def test_nobody_gets_in_without_an_identity(exports: ExportApi) -> None:
    """Every operation is protected."""
    job = exports.finished()

    assert set(answers(exports, job["jobId"], None).values()) == {401}


def test_a_foreign_organisation_looks_like_a_missing_one(exports: ExportApi) -> None:
    """Being told "forbidden" would say that the organisation exists."""
    job = exports.finished()

    assert set(answers(exports, job["jobId"], token("org:admin", orgs=[uuid4()])).values()) == {404}


@pytest.mark.parametrize("operation", ["", "/download"])
def test_a_foreign_job_looks_like_a_missing_one(exports: ExportApi, operation: str) -> None:
    """The id of somebody else's job, asked for below one's own organisation: same answer, byte for byte but the id."""
    foreign = ExportApi(exports.process, uuid4()).finished()["jobId"]
    missing = str(uuid4())

    found = [exports.request("GET", f"/{job_id}{operation}").json() for job_id in (foreign, missing)]

    assert [problem["status"] for problem in found] == [404, 404]
    assert found[0]["detail"].replace(foreign, "") == found[1]["detail"].replace(missing, "")


def test_the_list_has_only_the_own_exports(exports: ExportApi) -> None:
    """Two organisations share a table, not a list."""
    own = exports.create()["jobId"]
    ExportApi(exports.process, uuid4()).create()

    assert [job["jobId"] for job in exports.request("GET").json()["items"]] == [own]


def test_every_decision_is_in_the_audit_log(exports: ExportApi, database: Database) -> None:
    """Who took which data out is the first question after an incident."""
    job = exports.finished()
    exports.request("GET", f"/{job['jobId']}/download", roles=(DOWNLOAD,))
    exports.request("GET", f"/{job['jobId']}/download", roles=(READ,))

    with psycopg.connect(database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT service, subject, action, decision, path FROM analytics.audit_log WHERE org_id = %s"
            " AND action LIKE '%%download' ORDER BY audit_id",
            (exports.org_id,),
        ).fetchall()

    path = f"/analytics/v1/orgs/{exports.org_id}/exports/{job['jobId']}/download"
    assert rows == [
        ("analytics-export", "tester", "analytics:exports:download", "allow", path),
        ("analytics-export", "tester", "analytics:exports:download", "deny", path),
    ]


def test_the_job_names_who_asked_for_it(exports: ExportApi) -> None:
    """The seed made up an id where it had none."""
    bearer = token(CREATE, orgs=[exports.org_id], subject="auth0|ada lovelace")

    job = exports.send("POST", f"/orgs/{exports.org_id}/exports", bearer, json=BODY).json()

    assert job["initiatedBy"] == "auth0|ada lovelace"
