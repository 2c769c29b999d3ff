"""The running service against its contract: generated requests, valid and broken, and what may come back."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.integration.export.running import ExportApi
from tests.support.callers import token
from tools.openapi import path_of

# Equal to what the service serves: tests/contract/test_openapi.py holds them together.
schema = schemathesis.openapi.from_path(path_of("export"))


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_in_the_contract(export_process: ExportApi, case: schemathesis.Case[Any]) -> None:
    """Status, content type, schema and Allow of each; valid requests are accepted, and none without a token."""
    make_meaningful(case)

    case.call_and_validate(
        base_url=export_process.process.url,
        headers={"Authorization": f"Bearer {token('admin')}"},
        # The redirect leads to the storage, which is no part of this contract.
        allow_redirects=False,
        # A query string has no types: `limit=1` is a valid number and what this check takes for an invalid text.
        excluded_checks=[negative_data_rejection] if case.method == "GET" else [],
    )


def make_meaningful(case: schemathesis.Case[Any]) -> None:
    """Give a valid request what a schema cannot say: a range with a month in it, names that there are, no cursor."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    case.query = {name: value for name, value in (case.query or {}).items() if name != "cursor"}
    if isinstance(case.body, dict):
        case.path_parameters = {**case.path_parameters, "orgId": str(uuid4())}
        case.body = meaningful_body(case.operation.definition.raw["operationId"], case.body)


def meaningful_body(operation: str, body: dict[str, Any]) -> dict[str, Any]:
    """A body whose parts fit each other."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    # No host may be called here.
    body = body | ({"webhook": None} if "webhook" in body else {})
    question: dict[str, Any] = {"models": [], "filters": {"status": ["error"]}, "template": "full", "groupBy": None}
    if operation == "createExport":
        times = {"start": start.isoformat(), "end": (start + timedelta(days=31)).isoformat()}
        return body | question | {"timeRange": times, "timezone": "UTC", "delivery": {"type": "s3"}}
    export = question | {"timezone": "UTC"}
    fitting = {"cron": "daily", "export": export, "delivery": {"type": "s3"}, "start": None}
    return {name: fitting.get(name, value) for name, value in body.items()} | (
        {"cron": "daily", "export": export} if operation == "createExportSchedule" else {}
    )
