"""What a deployed system must do, one check each. They change nothing but add one event and one export."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

API = "/analytics/v1"


class CheckFailed(Exception):
    """The system does not do what it should; the text says what was seen instead, `service` whose logs to read."""

    def __init__(self, text: str, service: str) -> None:
        super().__init__(text)
        self.service = service


@dataclass(frozen=True)
class Target:
    """A deployed system and who asks it: `token` may write events and has every right in `org_id`."""

    client: httpx.Client
    org_id: str
    token: str
    patience_s: float
    event: dict[str, Any] = field(default_factory=dict)

    def call(self, method: str, path: str, *, token: str | None = None, **arguments: Any) -> httpx.Response:
        """One request below /analytics/v1; an empty token sends none."""
        bearer = self.token if token is None else token
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return self.client.request(method, API + path, headers=headers, **arguments)

    def eventually(self, condition: Callable[[], bool], what: str, service: str) -> float:
        """Seconds until the condition held; `CheckFailed` after the patience; `service` has to see to it."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > self.patience_s:
                raise CheckFailed(f"not within {self.patience_s:.0f} s: {what}", service)
            time.sleep(0.2)
        return time.monotonic() - began


def target(client: httpx.Client, org_id: str, token: str, patience_s: float) -> Target:
    """A target with the event that this run adds: one token in and out, for a tenth of a cent."""
    event = {
        "eventId": str(uuid4()),
        "orgId": org_id,
        "modelId": "smoke-test",
        "occurredAt": datetime.now(UTC).isoformat(),
        "status": "success",
        "latencyMs": 1,
        "inputTokens": 1,
        "outputTokens": 1,
        "costEstimateCents": "0.1",
        "clientId": "smoke",
    }
    return Target(client, org_id, token, patience_s, event)


def owner(path: str) -> str:
    """The service that the gateway sends a path to."""
    if path.startswith((f"{API}/events", f"{API}/dead-letters")):
        return "ingest"
    return "export" if "/export" in path else "query-api"


def expect(response: httpx.Response, *statuses: int) -> Any:
    """The body; `CheckFailed` with what came instead of the expected status."""
    if response.status_code not in statuses:
        method, path = response.request.method, response.request.url.path
        raise CheckFailed(f"{method} {path}: {response.status_code} {response.text[:300]}", owner(path))
    return response.json() if "json" in response.headers.get("content-type", "") else response.content


def healthy(system: Target) -> str:
    expect(system.call("GET", "/status/healthz", token=""), 200)
    return "answers"


def ready(system: Target) -> str:
    body = expect(system.call("GET", "/status/readyz", token=""), 200)
    return ", ".join(sorted(body.get("dependencies", {}))) or "ready"


def metrics_are_hidden(system: Target) -> str:
    """The gateway must not hand out /metrics; asked at a service itself, they are there and this check says so."""
    status = system.client.get("/metrics").status_code
    if status == 200:
        raise CheckFailed(
            "/metrics is public here: hide it at the gateway, or give --internal for a service's own port", "gateway"
        )
    return f"answered with {status}"


def metrics_are_there(system: Target) -> str:
    body = system.client.get("/metrics")
    expect(body, 200)
    if "http_requests_total" not in body.text:
        raise CheckFailed("/metrics has no http_requests_total", "query-api")
    return f"{len(body.text.splitlines())} lines"


def nobody_is_refused(system: Target) -> str:
    expect(system.call("GET", f"/orgs/{system.org_id}/usage", token="", params=day()), 401)
    expect(system.call("GET", f"/orgs/{system.org_id}/usage", token="not.a.token", params=day()), 401)
    return "401"


def forged_headers_are_refused(system: Target) -> str:
    """Identity headers from outside must not make anybody somebody."""
    headers = {"X-Actor-Subject": "smoke", "X-Actor-Roles": "admin", "X-Actor-Orgs": system.org_id}
    response = system.client.get(f"{API}/orgs/{system.org_id}/usage", headers=headers, params=day())
    expect(response, 401)
    return "401"


def unknown_paths_are_problems(system: Target) -> str:
    response = system.call("GET", "/nothing-of-this-name")
    expect(response, 404)
    if response.headers.get("content-type", "").split(";")[0] != "application/problem+json":
        raise CheckFailed(f"404 is not problem+json but {response.headers.get('content-type')}", "gateway")
    return "404 problem"


def bad_events_are_rejected(system: Target) -> str:
    body = expect(system.call("POST", "/events/validate", json={**system.event, "latencyMs": -1}), 400)
    if "latencyMs" not in str(body):
        raise CheckFailed(f"the answer does not name latencyMs: {body}", "ingest")
    return "names the field"


def published_events_become_visible(system: Target) -> str:
    before = invocations(system)
    expect(system.call("POST", "/events", json=system.event), 202)
    # Ingest has taken it; what is left to do is the fold's.
    what = "the published event in the usage API"
    seconds = system.eventually(lambda: invocations(system) == before + 1, what, "rollup")
    # A repetition is a duplicate: the count stays.
    expect(system.call("POST", "/events", json=system.event), 202)
    return f"{seconds:.1f} s from POST to usage"


def repeats_are_counted_once(system: Target) -> str:
    """Once everything accepted by now is visible, the repeated event still counts once."""
    sent_at = datetime.now(UTC)

    def caught_up() -> bool:
        body = expect(system.call("GET", f"/orgs/{system.org_id}/freshness"), 200)
        watermark = body.get("watermark")
        return watermark is not None and datetime.fromisoformat(watermark) > sent_at

    system.eventually(caught_up, "a watermark later than the repeated event", "rollup")
    hour = this_hour(system)
    body = expect(system.call("GET", f"/orgs/{system.org_id}/usage", params=hour), 200)
    return f"{body['totals']['invocations']} calls of the model smoke-test this hour"


def reliability_answers(system: Target) -> str:
    body = expect(system.call("GET", f"/orgs/{system.org_id}/reliability", params=this_hour(system)), 200)
    if not body["series"]:
        raise CheckFailed("no reliability of the hour in which an event was published", "rollup")
    return f"p95 {body['series'][0]['latencyMs']['p95']} ms"


def exports_come_back_whole(system: Target) -> str:
    base = f"/orgs/{system.org_id}/exports"
    hour = this_hour(system)
    body = {"timeRange": {"start": hour["start"], "end": hour["end"]}, "granularity": "hourly"}
    job = expect(system.call("POST", base, json=body), 202)
    path = f"{base}/{job['jobId']}"

    def ended() -> bool:
        job.update(expect(system.call("GET", path), 200))
        return job["status"] not in {"pending", "running"}

    seconds = system.eventually(ended, "the export's end", "export")
    if job["status"] != "succeeded":
        raise CheckFailed(f"the export ended as {job['status']}: {job.get('error')}", "export")
    signed = system.call("GET", f"{path}/download", follow_redirects=False)
    expect(signed, 302)
    try:
        content = httpx.get(signed.headers["location"], timeout=30).raise_for_status().content
    except httpx.HTTPError as error:
        raise CheckFailed(f"the signed URL leads to no file: {error!r}", "export") from None
    if hashlib.sha256(content).hexdigest() != job["checksum"]:
        raise CheckFailed("the downloaded file has another SHA-256 than the job says", "export")
    return f"{job['rowCount']} rows in {seconds:.1f} s, checksum equal"


def invocations(system: Target) -> int:
    body = expect(system.call("GET", f"/orgs/{system.org_id}/usage", params=this_hour(system)), 200)
    return int(body["totals"]["invocations"])


def this_hour(system: Target) -> dict[str, str]:
    """The hour of this run's event, for its model alone."""
    start = datetime.fromisoformat(system.event["occurredAt"]).replace(minute=0, second=0, microsecond=0)
    return {
        "start": start.isoformat(),
        "end": (start + timedelta(hours=1)).isoformat(),
        "granularity": "hour",
        "modelId": system.event["modelId"],
    }


def day() -> dict[str, str]:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return {"start": midnight.isoformat(), "end": (midnight + timedelta(days=1)).isoformat(), "granularity": "day"}


def all_checks(*, internal: bool) -> Iterator[tuple[str, Callable[[Target], str]]]:
    """Name and check, in the order in which they build on each other."""
    yield "health", healthy
    yield "readiness", ready
    yield "metrics", metrics_are_there if internal else metrics_are_hidden
    yield "no identity", nobody_is_refused
    yield "forged identity", forged_headers_are_refused
    yield "unknown path", unknown_paths_are_problems
    yield "bad event", bad_events_are_rejected
    yield "publish to visible", published_events_become_visible
    yield "counted once", repeats_are_counted_once
    yield "reliability", reliability_answers
    yield "export round trip", exports_come_back_whole
