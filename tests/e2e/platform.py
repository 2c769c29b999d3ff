"""The whole product on a session's own places: four service processes, called as their users call them."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Self

import httpx
import jwt
import psycopg

from tests.support.processes import ServiceProcess, ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq
from tools.replay.ledger import Ledger
from tools.replay.messages import Message
from tools.replay.pacing import Pace
from tools.replay.run import AS_FAST_AS_POSSIBLE, replay

JWT_SECRET = "a key for tests of at least 32 bytes"
STREAM = "analytics.usage.v1"
PATIENCE_S = 120
POLL_S = 0.1
MICROCENTS_PER_CENT = 1_000_000


def token(*roles: str, orgs: Iterable[str] = (), subject: str = "tester") -> str:
    """A bearer token as an identity provider would issue it."""
    claims = {"sub": subject, "roles": roles, "orgs": list(orgs), "exp": datetime.now(UTC) + timedelta(hours=1)}
    return jwt.encode(claims, JWT_SECRET, algorithm="HS256")


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Poll until the condition holds; AssertionError that says what was waited for when it never does."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s} s for: {what}"
        time.sleep(POLL_S)


def exact_json(response: httpx.Response) -> Any:
    """The body with every number that has a point as Decimal: money is compared to the last micro-cent."""
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_float=Decimal)


@dataclass(frozen=True)
class Places:
    """What stands behind the services, and the environment of each of them, its port included."""

    database: Database
    rabbitmq: RabbitMq
    s3: ObjectStore
    environments: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Platform:
    """The running services and what stands behind them."""

    places: Places
    processes: ServiceProcesses
    services: dict[str, ServiceProcess]

    @property
    def database(self) -> Database:
        return self.places.database

    @property
    def environments(self) -> dict[str, dict[str, str]]:
        return self.places.environments

    def start(self, service: str) -> None:
        """Start a service, again if it has ended."""
        self.services[service] = self.processes.start(f"analytics-{service}", self.environments[service], wait=False)

    def start_all(self) -> Self:
        """Start the four services, and return when each is ready."""
        for service in self.environments:
            self.start(service)
        for process in self.services.values():
            process.wait_until_ready()
        return self

    def stop_all(self) -> None:
        """Stop each as a cluster would, and see that it ends well."""
        for service, process in self.services.items():
            assert process.stop() == 0, f"{service}:\n{process.log()}"

    def publish(self, messages: Iterable[Message], *, pace: Pace = AS_FAST_AS_POSSIBLE) -> Ledger:
        """Publish with confirms; the ledger of what the broker holds."""
        ledger = asyncio.run(replay(messages, url=self.places.rabbitmq.stream_url, stream=STREAM, pace=pace))
        assert ledger.unconfirmed == 0
        assert ledger.ended_early is None
        return ledger

    def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        **arguments: Any,
    ) -> httpx.Response:
        """One request as the platform's administrator, or with the given token."""
        headers = {"Authorization": f"Bearer {bearer or token('admin')}", **headers}
        url = f"{self.services[service].url}/analytics/v1{path}"
        return httpx.request(method, url, headers=headers, timeout=30, trust_env=False, **arguments)

    def query(self, sql: str, *values: object) -> tuple[Any, ...]:
        """One row as the schema's owner."""
        with psycopg.connect(self.database.owner_dsn) as connection:
            row = connection.execute(sql, values).fetchone()
        assert row is not None
        return tuple(row)

    def batch_counts(self) -> dict[str, int]:
        """received, stored, duplicate, conflict and rejected over all batches, and how many wait to be folded."""
        names = ("received", "stored", "duplicate", "conflict", "rejected", "unfolded")
        sums = ", ".join(f"coalesce(sum({name}_count), 0)::bigint" for name in names[:-1])
        unfolded = "count(*) FILTER (WHERE folded_at IS NULL)"
        row = self.query(f"SELECT {sums}, {unfolded} FROM analytics.ingestion_batches")
        return dict(zip(names, row, strict=True))

    def wait_until_visible(self, received: int) -> None:
        """Until so many messages have been taken from the stream, and everything stored is folded."""

        def visible() -> bool:
            counts = self.batch_counts()
            return counts["received"] >= received and counts["unfolded"] == 0

        wait_until(visible, f"{received} messages ingested and folded, now {self.batch_counts()}")

    def totals(self, org_id: str, start: datetime, end: datetime, **parameters: str) -> dict[str, Any]:
        """The usage totals of an organisation by the API, cost in micro-cents."""
        query = {"start": start.isoformat(), "end": end.isoformat(), "granularity": "hour", **parameters}
        totals = exact_json(self.call("query-api", "GET", f"/orgs/{org_id}/usage", params=query))["totals"]
        return {
            "events": totals["invocations"],
            "inputTokens": totals["inputTokens"],
            "outputTokens": totals["outputTokens"],
            "cachedInputTokens": totals["cachedInputTokens"],
            "reasoningTokens": totals["reasoningTokens"],
            "costMicrocents": int(Decimal(totals["costEstimateCents"]) * MICROCENTS_PER_CENT),
        }

    def all_totals(self, ledger: Ledger) -> dict[str, dict[str, Any]]:
        """`totals` of every organisation of the ledger, over a range that holds all its events."""
        assert ledger.first_occurred_at is not None
        assert ledger.last_occurred_at is not None
        start = whole_hour(ledger.first_occurred_at)
        end = whole_hour(ledger.last_occurred_at) + timedelta(hours=1)
        return {org: self.totals(org, start, end) for org in expected_totals(ledger)}


def whole_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def expected_totals(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """What `Platform.all_totals` must equal."""
    names = ("events", "inputTokens", "outputTokens", "cachedInputTokens", "reasoningTokens", "costMicrocents")
    sums = {org_id: each.as_json() for org_id, each in ledger.by_org().items()}
    return {org_id: {name: values[name] for name in names} for org_id, values in sums.items()}
