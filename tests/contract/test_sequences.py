"""Sequences of requests along the links of the contracts, against the running services; every answer is checked."""

import json
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.generation.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.checks import negative_data_rejection

from analytics_core.testing.builders import usage_event
from tests.integration.export.running import Bucket, environment, store_usage
from tests.integration.ingest.streaming import IngestStage
from tests.support.callers import JWT_SECRET, token
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq
from tools.openapi import path_of

ORG = UUID(int=77)
MODELS = 3
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
WEEK = {"start": MARCH.isoformat(), "end": (MARCH + timedelta(days=7)).isoformat()}
MONTH = {"start": MARCH.isoformat(), "end": (MARCH + timedelta(days=31)).isoformat()}
# What has no end, and what leads to the storage or elsewhere for good reasons.
ENDLESS = ("streamUsage", "followExport")
# Lists of what has just happened.
RECENT = ("getAudit", "getOrgAudit", "listDeadLetters")
# They judge each event themselves, and say so in a receipt.
EVENTS = ("publishEvents", "validateEvents")
NUMBERS = count()
SETTINGS = settings(
    max_examples=8, stateful_step_count=6, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@schemathesis.serializer("application/x-ndjson")
def in_lines(_: Any, value: Any) -> bytes:
    """A text as it is, anything else as one line."""
    return (value if isinstance(value, str) else json.dumps(value)).encode()


@pytest.fixture(scope="module")
def urls(
    make_database: Callable[..., Database],
    make_rabbitmq: Callable[[], RabbitMq],
    redis_url: str,
    s3: ObjectStore,
    free_port: Callable[[], int],
) -> Iterator[dict[str, str]]:
    """The services on one database that has something to list: rollups, audit records and dead letters."""
    database, rabbitmq = make_database(), make_rabbitmq()
    hours = [MARCH + timedelta(hours=hour) for hour in range(48)]
    store_usage(database, "usage_hourly", [Bucket(ORG, hour, f"m{n}") for hour in hours for n in range(MODELS)])
    store_usage(
        database,
        "usage_daily",
        [Bucket(ORG, MARCH + timedelta(days=day), f"m{n}") for day in (0, 1) for n in range(MODELS)],
    )
    with psycopg.connect(database.owner_dsn) as owner:
        (batch,) = owner.execute(
            "INSERT INTO analytics.ingestion_batches (stream, partition, first_offset, last_offset, received_count,"
            " stored_count, duplicate_count, conflict_count, rejected_count, late, first_chunk_at)"
            " VALUES ('s', 0, 0, 9, 10, 0, 0, 0, 10, false, now()) RETURNING batch_id"
        ).fetchone() or (0,)
        owner.execute(
            "INSERT INTO analytics.dead_letters (batch_id, stream, partition, stream_offset, reason, detail, body)"
            " SELECT %s, 's', 0, n, 'not_json', 'no JSON', 'x' FROM generate_series(0, 9) AS n",
            [batch],
        )
    with ServiceProcesses() as processes:
        stage = IngestStage(database, rabbitmq, processes, free_port)
        query = {
            "ENVIRONMENT": "test", "HTTP_PORT": str(free_port()), "DATABASE_URL": database.dsn("analytics_query_api"),
            "REDIS_URL": redis_url, "RABBITMQ_URL": rabbitmq.amqp_url, "AUTH_JWT_SECRET": JWT_SECRET,
        }  # fmt: skip
        folding = {
            "ENVIRONMENT": "test", "HTTP_PORT": str(free_port()), "DATABASE_URL": database.dsn("analytics_rollup"),
            "RABBITMQ_URL": rabbitmq.amqp_url,
        }  # fmt: skip
        started = {
            "rollup": processes.start("analytics-rollup", folding, wait=False),
            "ingest": stage.start(wait=False),
            "query-api": processes.start("analytics-query-api", query, wait=False),
            "export": processes.start("analytics-export", environment(database, rabbitmq, s3, free_port()), wait=False),
        }
        yield {name: process.wait_until_ready().url for name, process in started.items()}


def event_in(media_type: str) -> Any:
    """A new event in one of the formats that ingest reads."""
    event = usage_event(orgId=str(ORG), occurredAt=datetime.now(UTC).isoformat())
    cloud = {"specversion": "1.0", "id": event["eventId"], "source": "/tests", "type": "usage", "data": event}
    formats = {"application/cloudevents+json": cloud, "application/cloudevents-batch+json": [cloud]}
    return json.dumps(event) if "ndjson" in media_type else formats.get(media_type, event)


def body_of(operation: str, body: Any) -> Any:
    """A body that is accepted, where chance would seldom make one."""
    if operation == "replayDeadLetters":
        letter = body.get("deadLetterId") if isinstance(body, dict) else None
        return {"dryRun": True} | ({"deadLetterId": letter} if letter else {"filter": {}, "limit": 3})
    made = {
        "createExport": {"timeRange": MONTH},
        "createExportSchedule": {"name": f"schedule {next(NUMBERS)}", "cron": "monthly", "enabled": False},
        "changeExportSchedule": {"cron": "weekly"},
    }
    return made.get(operation, body)


def make_meaningful(case: schemathesis.Case[Any], cursors: Collection[str] = ()) -> None:
    """Give a valid request what a schema cannot say: a range with something in it, and a cursor that was handed out."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    operation, asked = case.operation.definition.raw["operationId"], {each.name for each in case.operation.query}
    if "orgId" in case.path_parameters:
        case.path_parameters["orgId"] = str(ORG)
    given = {"cursor": case.query["cursor"]} if case.query.get("cursor") in cursors else {}
    times = WEEK if {"start", "end"} <= asked and operation not in RECENT else {}
    page = {"limit": "1"} if "limit" in asked else {}
    case.query = times | page | given
    if operation in EVENTS:
        case.body = event_in(str(case.media_type))
    elif case.media_type == "application/json":
        case.body = body_of(operation, case.body)


class Walk:
    """What is added to schemathesis' machine: who asks, and what a schema cannot say.

    `followed` are the links that it went, `cursors` those that it was given.
    """

    url: ClassVar[str]
    followed: ClassVar[set[str]]
    cursors: ClassVar[set[str]]

    def step(self, input: Any) -> Any:  # noqa: A002
        if input.transition is not None and input.is_applied:
            self.followed.add(input.transition.id)
        return super().step(input)  # type: ignore[misc]

    def before_call(self, case: schemathesis.Case[Any]) -> None:
        make_meaningful(case, self.cursors)

    def get_call_kwargs(self, _: schemathesis.Case[Any]) -> dict[str, Any]:
        return sent_to(self.url)

    def after_call(self, response: Any, case: schemathesis.Case[Any]) -> None:
        super().after_call(response, case)  # type: ignore[misc]
        if response.status_code == 200 and b"nextCursor" in response.content:
            self.cursors.update({response.json()["nextCursor"]} - {None})


def sent_to(url: str) -> dict[str, Any]:
    """A redirect is not followed: it leads to the storage, which is no part of the contract."""
    return {"base_url": url, "headers": {"Authorization": f"Bearer {token('admin')}"}, "allow_redirects": False}


def machine_of(service: str, url: str) -> Any:
    """Walks the links of a service's contract."""
    schema = schemathesis.openapi.from_path(path_of(service)).exclude(operation_id=list(ENDLESS))
    # A query string has no types: `limit=1` is a valid number and what this check takes for an invalid text.
    schema.config.checks.negative_data_rejection.enabled = False
    return type("Machine", (Walk, schema.as_state_machine()), {"url": url, "followed": set(), "cursors": set()})


@pytest.mark.parametrize("service", ["ingest", "query-api", "export"])
def test_every_answer_of_a_sequence_is_in_the_contract(urls: dict[str, str], service: str) -> None:
    """Created, shown, changed, gone; one page after the other. It says something only if links were gone."""
    machine = machine_of(service, urls[service])
    run_state_machine_as_test(machine, settings=SETTINGS)

    assert len(machine.followed) >= 3, machine.followed


ingest, rollup = (schemathesis.openapi.from_path(path_of(service)) for service in ("ingest", "rollup"))
EACH = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


@ingest.parametrize()
@EACH
def test_every_answer_of_ingest_is_in_the_contract(urls: dict[str, str], case: schemathesis.Case[Any]) -> None:
    """Status, content type, schema and Allow of each operation alone, valid and broken."""
    make_meaningful(case)
    is_judged = case.method == "GET" or case.path.endswith(("/events", "/validate"))

    case.call_and_validate(**sent_to(urls["ingest"]), excluded_checks=[negative_data_rejection] if is_judged else None)


@rollup.parametrize()
@EACH
def test_every_answer_of_rollup_is_in_the_contract(urls: dict[str, str], case: schemathesis.Case[Any]) -> None:
    """It has no links to walk."""
    case.call_and_validate(**sent_to(urls["rollup"]), excluded_checks=[negative_data_rejection])
