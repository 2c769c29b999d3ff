"""All services are replaced while events are published and posted, questions asked and exports made: nobody notices."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import httpx
import pytest

from analytics_core.testing.builders import usage_event
from tests.e2e.fleet import Fleet
from tests.e2e.platform import STREAM, Places, Platform, expected_totals, token, wait_until
from tests.support.processes import ServiceProcesses
from tools.replay.ledger import Ledger
from tools.replay.source import Source

ORG = "9a1c7a52-51a7-4f0e-8a51-3f2f4f0b7c11"
# Between two things that a user does: a fraction of what the services allow a caller a second.
PAUSE_S = 0.02
# Sixteen starts of processes and twice the charts' preStop: 40 s on two idle cores.
pytestmark = pytest.mark.timeout(600)


class Users:
    """What users do, each thing by one of them again and again, and what went wrong in their eyes."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self.exports: list[str] = []
        self.events = 0
        self.stopped = threading.Event()
        self.day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        # Today, and tomorrow if it begins meanwhile.
        self.until = self.day + timedelta(days=2)

    def call(self, client: httpx.Client, service: str, method: str, path: str, status: int, **arguments: Any) -> Any:
        """The answer's body, None when it was not what the user expects."""
        what = f"{service}: {method} {path.partition('?')[0]}"
        try:
            response = client.request(method, f"{self.fleet.replica(service).url}/analytics/v1{path}", **arguments)
        except httpx.HTTPError as error:
            self.failures.append(f"{what}: {error!r}")
            return None
        if response.status_code != status:
            self.failures.append(f"{what}: {response.status_code} {response.text}")
            return None
        self.done[service] += 1
        return response.json()

    def post_events(self, client: httpx.Client) -> None:
        events = [usage_event(orgId=ORG, occurredAt=datetime.now(UTC).isoformat()) for _ in range(5)]
        answer = self.call(client, "ingest", "POST", "/events", 202, json=events)
        self.events += len(events) if answer is not None else 0

    def ask(self, client: httpx.Client) -> None:
        asked = {"start": self.day.isoformat(), "end": self.until.isoformat(), "granularity": "day"}
        for path in (f"/orgs/{ORG}/usage", f"/orgs/{ORG}/reliability"):
            self.call(client, "query-api", "GET", path, 200, params=asked)
        self.call(client, "query-api", "GET", f"/orgs/{ORG}/freshness", 200)

    def export(self, client: httpx.Client) -> None:
        body = {"timeRange": {"start": (self.day - timedelta(days=1)).isoformat(), "end": self.day.isoformat()}}
        job = self.call(client, "export", "POST", f"/orgs/{ORG}/exports", 202, json=body)
        while job is not None and job["status"] in {"pending", "running"}:
            time.sleep(PAUSE_S)
            job = self.call(client, "export", "GET", f"/orgs/{ORG}/exports/{job['jobId']}", 200)
        self.exports += [job["status"]] if job is not None else []

    def again_and_again(self, action: Callable[[httpx.Client], None]) -> None:
        headers = {"Authorization": f"Bearer {token('org:admin', orgs=[ORG])}"}
        with httpx.Client(timeout=60, trust_env=False, headers=headers) as client:
            while not self.stopped.wait(PAUSE_S):
                action(client)

    @contextmanager
    def busy(self, *actions: Callable[[], None]) -> Iterator[None]:
        """All of them at work, and `actions` in threads of their own; what these raise is raised at the end."""
        own = [lambda act=act: self.again_and_again(act) for act in (self.post_events, self.ask, self.export)]
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(action) for action in (*own, *actions)]
            try:
                yield
            finally:
                self.stopped.set()
            for each in running:
                each.result()


def test_a_rollout_under_load_loses_nothing_and_fails_no_request(places: Places, free_port: Callable[[], int]) -> None:
    """Counted here by organisation and compared with the API: no request failed, no event lost, none there twice."""
    messages = iter(Source(anchor=datetime.now(UTC), events=200_000, duration=timedelta(hours=2)).messages()[1])
    ledger = Ledger(STREAM)
    with ServiceProcesses() as processes:
        fleet = Fleet(places, processes, free_port)
        users = Users(fleet)
        platform = Platform(places, processes, services={})

        def publish() -> None:
            while not users.stopped.is_set():
                part = list(islice(messages, 300))
                platform.publish(part)
                for message in part:
                    ledger.add(message)

        with users.busy(publish):
            wait_until(lambda: len(users.done) == 3, "every kind of request has been answered")
            fleet.replace_all()
            seen = Counter(users.done)
            wait_until(lambda: all(users.done[service] > seen[service] for service in seen), "requests go on")

        assert users.failures == []
        assert set(users.exports) == {"succeeded"}
        published = ledger.events + users.events
        wait_until(lambda: platform.batch_counts()["stored"] >= published, f"{published} events stored")
        wait_until(lambda: platform.batch_counts()["unfolded"] == 0, "everything folded")
        platform.services["query-api"] = fleet.replica("query-api")
        assert platform.batch_counts() | {"stored": published, "conflict": 0, "rejected": 0} == platform.batch_counts()
        assert platform.all_totals(ledger) == expected_totals(ledger)
        assert platform.totals(ORG, users.day, users.until)["events"] == users.events
        assert platform.query("SELECT count(*), count(DISTINCT (org_id, event_id)) FROM analytics.usage_events") == (
            published,
            published,
        )
