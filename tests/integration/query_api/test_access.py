"""A tenant sees only itself: any principal, any organisation, any route; and every decision is on record."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.query_api.conftest import Api, OpenApi
from tests.integration.query_api.numbers import NOW, Call, Numbers
from tests.support.callers import bearer
from tests.support.stack import Database

RANGE: dict[str, Any] = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}
ORGS = [uuid4() for _ in range(4)]
ROUTES = {
    "usage": {"analytics:usage:read"},
    "reliability": {"analytics:reliability:read"},
    "freshness": {"analytics:usage:read", "analytics:reliability:read"},
}
ROLES = [
    "admin",
    "org:admin",
    "analytics:usage:read",
    "analytics:reliability:read",
    "analytics:freshness:read",
    "analytics:exports:read",
    "analytics:events:write",
    "ADMIN",
    "analytics:*",
]
AuditRows = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def tenants(numbers: Numbers) -> dict[UUID, str]:
    """Each organisation has one model, whose name nobody else has."""
    models = {org: f"secret-of-{org}" for org in ORGS}
    for org, model in models.items():
        numbers.fold(org, [Call(at=NOW, model_id=model)])
    return models


@pytest.fixture
def audit_rows(database: Database) -> AuditRows:
    """What the trail says of a request."""

    def read(request_id: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(database.owner_dsn) as connection:
            return connection.execute(
                "SELECT subject, roles, org_id, action, decision, reason, method, path, service"
                " FROM analytics.audit_log WHERE request_id = %s",
                (request_id,),
            ).fetchall()

    return read


def expected_status(roles: set[str], orgs: set[UUID], org: UUID, route: str) -> int:
    """The rules of the contract, written down a second time."""
    if "admin" in roles:
        return 200
    if org not in orgs:
        return 404
    return 200 if roles & (ROUTES[route] | {"org:admin"}) else 403


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    roles=st.sets(st.sampled_from(ROLES), max_size=4),
    orgs=st.sets(st.sampled_from(ORGS)),
    org=st.sampled_from(ORGS),
    route=st.sampled_from(sorted(ROUTES)),
    by_model=st.booleans(),
    filtered_by=st.none() | st.sampled_from(ORGS),
)
async def test_nobody_sees_what_is_not_theirs(
    api: Api,
    tenants: dict[UUID, str],
    roles: set[str],
    orgs: set[UUID],
    org: UUID,
    route: str,
    by_model: bool,
    filtered_by: UUID | None,
) -> None:
    """Whatever principal, route and parameters: allowed exactly where the contract says, and no more data."""
    parameters: dict[str, str] = {} if route == "freshness" else dict(RANGE)
    if by_model and route != "freshness":
        parameters["groupBy"] = "model"
    if filtered_by is not None:
        parameters["modelId"] = tenants[filtered_by]

    response = await api.get(f"/orgs/{org}/{route}", headers=bearer(*sorted(roles), orgs=orgs), **parameters)

    assert response.status_code == expected_status(roles, orgs, org, route)
    for other, secret in tenants.items():
        assert other == org or secret not in response.text
    if response.status_code != 200:
        assert tenants[org] not in response.text
        assert response.headers["content-type"] == "application/problem+json"
    elif route != "freshness":
        assert response.json()["totals"]["invocations"] == (1 if filtered_by in (None, org) else 0)


async def test_a_foreign_organisation_looks_like_one_that_does_not_exist(api: Api, tenants: dict[UUID, str]) -> None:
    """The answers differ in the id that was asked for, and in nothing else."""
    me = bearer("analytics:usage:read", orgs=[ORGS[0]])
    nobody = uuid4()

    foreign = await api.get(f"/orgs/{ORGS[1]}/usage", headers=me, **RANGE)
    missing = await api.get(f"/orgs/{nobody}/usage", headers=me, **RANGE)

    def comparable(response: Any, org: UUID) -> dict[str, Any]:
        return {**response.json(), "instance": "", "detail": response.json()["detail"].replace(str(org), "ORG")}

    assert foreign.status_code == missing.status_code == 404
    assert comparable(foreign, ORGS[1]) == comparable(missing, nobody)


@pytest.mark.parametrize(
    ("roles", "orgs", "decision", "reason"),
    [
        (["analytics:usage:read"], [ORGS[0]], "allow", "role analytics:usage:read"),
        (["admin"], [], "allow", "role admin"),
        (["analytics:exports:read"], [ORGS[0]], "deny", "missing-role"),
        (["analytics:usage:read"], [ORGS[1]], "deny", "foreign-org"),
    ],
)
async def test_a_decision_is_on_record_when_its_answer_arrives(
    api: Api, audit_rows: AuditRows, roles: list[str], orgs: list[UUID], decision: str, reason: str
) -> None:
    """Also that an administrator has looked into somebody's organisation."""
    path = f"/orgs/{ORGS[0]}/usage"

    response = await api.get(path, headers=bearer(*roles, orgs=orgs, subject="alice"), **RANGE)

    assert audit_rows(response.headers["x-request-id"]) == [
        ("alice", roles, ORGS[0], "analytics:usage:read", decision, reason, "GET", f"/analytics/v1{path}",
         "analytics-query-api")
    ]  # fmt: skip


async def test_a_request_without_identity_is_on_record_too(api: Api, audit_rows: AuditRows) -> None:
    response = await api.get(f"/orgs/{ORGS[0]}/freshness", headers={})

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert [row[:6] for row in audit_rows(response.headers["x-request-id"])] == [
        ("anonymous", [], ORGS[0], "analytics:freshness:read", "deny", "unauthenticated")
    ]


async def test_a_wrong_parameter_does_not_hide_the_decision(api: Api, audit_rows: AuditRows) -> None:
    """Who may not ask learns nothing about parameters; who may is on record although the question was wrong."""
    stranger = await api.get(f"/orgs/{ORGS[0]}/usage", headers=bearer("org:admin", orgs=[ORGS[1]]), start="x")
    owner = await api.get(f"/orgs/{ORGS[0]}/usage", headers=bearer("org:admin", orgs=[ORGS[0]]), start="x")

    assert (stranger.status_code, owner.status_code) == (404, 422)
    assert [row[4] for row in audit_rows(owner.headers["x-request-id"])] == ["allow"]


async def test_without_access_control_everybody_is_the_administrator(
    open_api: OpenApi, tenants: dict[UUID, str], audit_rows: AuditRows
) -> None:
    """ENABLE_RBAC=false, refused in production: the trail still says what was read."""
    async with open_api(enable_rbac=False, environment="development") as open_to_all:
        response = await open_to_all.get(f"/orgs/{ORGS[0]}/usage", headers={}, **RANGE)

    assert response.json()["totals"]["invocations"] == 1
    assert [row[0] for row in audit_rows(response.headers["x-request-id"])] == ["development"]
