"""The second wall: a query that asks for one organisation in a session that was opened for another finds nothing."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from analytics_core import database
from analytics_core.access import OrgScope, scope_for_accepted_job
from analytics_query_api.routes import ROUTES
from tests.integration.query_api.conftest import Api
from tests.integration.query_api.numbers import NOW, Call, Numbers

RANGE = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}
# Every route of an organisation that answers with its numbers: what is asked, and where its rows are.
ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "usage": (RANGE, "series"),
    "reliability": (RANGE, "series"),
    "reliability/errors": (RANGE, "errors"),
    "dimensions/model": (RANGE, "values"),
    "freshness": ({}, "entries"),
    "audit": ({"end": "2026-03-11T00:00:00Z"}, "items"),
}


def test_every_route_of_an_organisation_is_asked() -> None:
    """But for the stream, which reads as usage does and does not end."""
    paths = {path for route in ROUTES for path in route.paths if "{orgId:uuid}" in path}
    served = {path.partition("{orgId:uuid}/")[2].replace("{dimension:str}", "model") for path in paths}

    assert served - {"usage/stream"} == set(ASKED)


@pytest.mark.parametrize("path", ASKED)
async def test_the_right_query_in_the_wrong_session_finds_nothing(
    api: Api, numbers: Numbers, org_id: UUID, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The query still says whose rows it wants; PostgreSQL has been told of somebody else."""
    parameters, rows = ASKED[path]
    numbers.fold(org_id, [Call(at=NOW), Call(at=NOW, status="error")])
    numbers.note_details(org_id)
    await api.get(f"/orgs/{org_id}/freshness")
    right = await api.get(f"/orgs/{org_id}/{path}", **parameters)
    limit_to, wrong_scope = database._limit_to, scope_for_accepted_job(uuid4())

    def limit_to_somebody_else(scope: Any) -> str:
        return limit_to(wrong_scope if isinstance(scope, OrgScope) else scope)

    monkeypatch.setattr(database, "_limit_to", limit_to_somebody_else)
    wrong = await api.get(f"/orgs/{org_id}/{path}", **parameters)

    assert (right.status_code, wrong.status_code) == (200, 200)
    assert (bool(right.json()[rows]), wrong.json()[rows]) == (True, [])
