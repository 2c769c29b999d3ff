"""The running query API against its contract: generated requests, valid and broken, and what may come back."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from analytics_query_api.periods import parse_time
from tests.support.callers import JWT_SECRET, token
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, RabbitMq
from tools.openapi import path_of


@pytest.fixture(scope="module")
def url(database: Database, redis_url: str, rabbitmq: RabbitMq, free_port: Callable[[], int]) -> Iterator[str]:
    """The service as a real process on real servers."""
    with ServiceProcesses() as processes:
        service = processes.start(
            "analytics-query-api",
            {
                "ENVIRONMENT": "test",
                "HTTP_PORT": str(free_port()),
                "DATABASE_URL": database.dsn("analytics_query_api"),
                "REDIS_URL": redis_url,
                "RABBITMQ_URL": rabbitmq.amqp_url,
                "AUTH_JWT_SECRET": JWT_SECRET,
            },
        )
        yield service.url


# Equal to what the service serves: test_openapi.py holds them together.
schema = schemathesis.openapi.from_path(path_of("query-api"))


# A stream has no end that a generated request could wait for: tests/integration/query_api/test_live.py.
@schema.exclude(operation_id="streamUsage").parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_in_the_contract(url: str, case: schemathesis.Case[Any]) -> None:
    """Status, content type, schema and Allow of each; valid requests are accepted, and none without a token."""
    related(case)

    case.call_and_validate(
        base_url=url,
        headers={"Authorization": f"Bearer {token('admin')}"},
        # A query string has no types: `modelId=1` is a valid text and what this check takes for an invalid number.
        excluded_checks=[negative_data_rejection],
    )


def related(case: schemathesis.Case[Any]) -> None:
    """Gives a valid request what a schema cannot say: a range in order, a zone that exists, no group twice."""
    if case.meta is None or not case.meta.generation.mode.is_positive or not case.query:
        return
    case.query = {name: value for name, value in case.query.items() if name != "cursor"}
    given = case.query.get("start") or case.query.pop("end", None)
    if given is None:
        return
    try:
        start = min(parse_time(given), datetime(2099, 12, 1, tzinfo=UTC))
    except ValueError:
        # A schema cannot say that times are from 2000 to 2100.
        start = datetime(2026, 3, 1, tzinfo=UTC)
    groups = dict.fromkeys(str(case.query.pop("groupBy", "")).split(","))
    days = 7
    if case.query.get("granularity") == "month":
        # In fewer days, no month may start; for so many, actors are known beside models and outcomes alone.
        days = 31
        case.query.pop("actorId", None)
        groups.pop("actor", None)
    times = {"start": start.isoformat(), "end": (start + timedelta(days=days)).isoformat()}
    case.query |= times
    if "timezone" in case.query:
        case.query["timezone"] = "Europe/Berlin"
    if any(groups):
        case.query["groupBy"] = ",".join(groups)
