"""What must not leave the services by their logs and spans: secrets, and what events and callers say about people.

Everything that is planted is searched for in all output of four processes that log at the lowest level.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from analytics_client import UsagePublisher
from analytics_core.testing.builders import usage_event
from tests.e2e.platform import STREAM, Platform, token, wait_until
from tests.support.otlp import Collector

ORG = "9a1c7a52-51a7-4f0e-8a51-3f2f4f0b7c13"
ACTOR, PROJECT, MAIL, CALLER = "canary-actor-17", "canary-project-17", "jane.canary@example.com", "canary-caller-17"
PERSONAL = (ACTOR, PROJECT, MAIL, CALLER, "canary-note-17", "canary-query-17", "canary-path-17")
WEBHOOK_SECRET = "canary-webhook-secret-of-32-bytes-or-more"
SIGNATURE_SECRET = "canary-signature-secret-of-32-bytes-or-more"
CHAIN_KEY = "canary-chain-key-of-32-bytes-or-more-17"
WRONG_PASSWORD = "canary-wrong-password-17"
WHO_SETS_PASSWORDS = ("DATABASE_URL", "RABBITMQ_URL", "RABBITMQ_STREAM_URL", "REDIS_URL")

pytestmark = pytest.mark.timeout(600)


class Planted:
    """What was planted, and under which name a finding is reported."""

    def __init__(self, platform: Platform) -> None:
        self.values = {value: value for value in PERSONAL}
        for service, environment in platform.environments.items():
            for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "AUTH_JWT_SECRET"):
                self._add(f"{service} {name}", environment.get(name))
            for name in WHO_SETS_PASSWORDS:
                self._add(f"{service} {name}", urlsplit(environment.get(name, "")).password)
        for secret in (WEBHOOK_SECRET, SIGNATURE_SECRET, CHAIN_KEY, WRONG_PASSWORD):
            self._add(secret, secret)

    def _add(self, name: str, value: str | None) -> None:
        if value:
            self.values[name] = value

    def token(self, *roles: str, orgs: tuple[str, ...] = ()) -> str:
        """A caller's token, which is planted, too."""
        made = token(*roles, orgs=orgs, subject=CALLER)
        self._add("a caller's token", made.rpartition(".")[2])
        return made

    def signed_url(self, url: str) -> None:
        (signature,) = parse_qs(urlsplit(url).query)["X-Amz-Signature"]
        self._add("a signed URL", signature)

    def found_in(self, text: str) -> set[str]:
        return {name for name, value in self.values.items() if value in text}


@pytest.fixture
def platform(traced: Platform) -> Platform:
    for environment in traced.environments.values():
        if "AUTH_JWT_SECRET" in environment:
            environment["ACTOR_SIGNATURE_SECRET"] = SIGNATURE_SECRET
    traced.environments["query-api"]["AUDIT_CHAIN_KEYS"] = CHAIN_KEY
    traced.environments["export"].update(
        EXPORT_WEBHOOK_SECRET=WEBHOOK_SECRET,
        EXPORT_WEBHOOK_HOSTS="127.0.0.1",
        EXPORT_WEBHOOK_PRIVATE="true",
        EXPORT_RETRY_DELAY="10ms",
    )
    return traced.start_all()


def test_neither_secrets_nor_people_are_in_logs_and_spans(platform: Platform, collector: Collector) -> None:
    """After good, bad and failing requests, with the database, the broker, the cache and the object store failing."""
    planted = Planted(platform)
    admin, member = planted.token("admin"), planted.token("org:admin", orgs=(ORG,))
    send_events(platform, admin)
    ask(platform, admin, member)
    planted.signed_url(export(platform, member))
    output = stopped(platform)

    platform.environments["export"]["S3_SECRET_KEY"] = WRONG_PASSWORD
    platform.start("export")
    wait_until(lambda: is_healthy(platform.services["export"].url), "export answers")
    create_export(platform, member)
    failed = "SELECT count(*) FROM analytics.export_jobs WHERE status = 'failed'"
    wait_until(lambda: platform.query(failed) == (1,), "the export that the object store refuses fails")
    output += stopped(platform, "export")

    lose_servers(platform)
    posted = platform.call("ingest", "POST", "/events", bearer=admin, json=person())
    assert posted.status_code == 503, posted.text
    ask(platform, admin, member)
    output += stopped(platform)

    lines = [json.loads(line) for line in output]
    expected = {"request", "batch_committed", "folded", "export_succeeded", "webhook_not_delivered", "storage_refused"}
    assert expected | {"dependency_unreachable", "export_failed"} <= {line["message"] for line in lines}
    assert planted.found_in("\n".join(output)) == set()
    assert len({span.service for span in collector.spans}) == 4
    assert planted.found_in("\n".join(span.text for span in collector.spans)) == set()


def send_events(platform: Platform, bearer: str) -> None:
    """Events of people: by HTTP and by the stream, good ones, and ones that are wrong in every way that we know."""
    good = person()
    wrong = [
        person(latencyMs=MAIL),
        person(status=MAIL),
        person(occurredAt=MAIL),
        person(costEstimateCents=MAIL),
        person(actorId=f"{ACTOR}\0"),
        person(metadata={"note": ["canary-note-17"]}),
        person(metadata={MAIL: "x" * 9_000}),
        {"person": MAIL},
    ]
    posted = platform.call("ingest", "POST", "/events", bearer=bearer, json=[good, *wrong])
    assert posted.status_code == 202, posted.text
    for body in (f'{{"eventId": "{MAIL}', f"[{MAIL}]", json.dumps(wrong[0])):
        refused = platform.call("ingest", "POST", "/events/validate", bearer=bearer, content=body)
        assert refused.status_code in {400, 415, 422}, refused.text
    bodies = [json.dumps(event).encode() for event in (person(), good, {**good, "latencyMs": 7}, *wrong)]
    asyncio.run(publish(platform, [*bodies, f"{{{MAIL}".encode(), MAIL.encode("utf-16")]))
    platform.wait_until_visible(len(bodies) + 3)
    listed = platform.call("ingest", "GET", "/dead-letters", bearer=bearer)
    assert MAIL in listed.text
    corrected = {"deadLetterId": 1, "body": json.dumps(person())}
    replays: list[dict[str, Any]] = [{"filter": {}}, corrected, {"deadLetterId": MAIL}]
    for request in replays:
        platform.call("ingest", "POST", "/dead-letters/replay", bearer=bearer, json=request)


def person(**fields: Any) -> dict[str, Any]:
    """An event that says who, in every place that can."""
    said: dict[str, Any] = {
        "actorId": ACTOR,
        "clientId": MAIL,
        "status": "error",
        "errorCode": MAIL,
        "occurredAt": now().isoformat(),
        "metadata": {"project": PROJECT, "note": "canary-note-17", "owner": MAIL},
    }
    return usage_event(orgId=ORG, **{**said, **fields})


async def publish(platform: Platform, bodies: list[bytes]) -> None:
    async with UsagePublisher(platform.places.rabbitmq.stream_url, stream=STREAM) as publisher:
        await publisher.publish_confirmed(bodies, 60)


def ask(platform: Platform, admin: str, member: str) -> None:
    """Questions about people, right ones and wrong ones, by callers who are known and by ones who are not."""
    day = {"start": (now() - timedelta(days=1)).isoformat(), "end": (now() + timedelta(days=1)).isoformat()}
    of_one = {**day, "actorId": ACTOR, "groupBy": "actor"}
    for path, query in (
        (f"/orgs/{ORG}/usage", of_one),
        (f"/orgs/{ORG}/usage", {**day, "project": PROJECT, "clientId": MAIL}),
        (f"/orgs/{ORG}/usage", {**day, "actorId": ACTOR, "canary-query-17": MAIL}),
        (f"/orgs/{ORG}/usage", {**day, "start": MAIL, "cursor": "canary-query-17", "timezone": MAIL}),
        (f"/orgs/{ORG}/reliability", {**day, "actorId": ACTOR}),
        (f"/orgs/{ORG}/reliability/errors", of_one),
        (f"/orgs/{ORG}/dimensions/actor", day),
        (f"/orgs/{ORG}/freshness", {}),
        (f"/orgs/{ORG}/audit", {"subject": CALLER}),
        (f"/orgs/{MAIL}/usage", day),
        (f"/canary-path-17/{MAIL}", {"token": "canary-query-17"}),
    ):
        platform.call("query-api", "GET", path, bearer=member, params=query)
    platform.call("query-api", "GET", "/audit", bearer=admin, params={"subject": CALLER})
    forged = jwt.encode({"sub": CALLER, "roles": ["admin"]}, WRONG_PASSWORD * 2, algorithm="HS256")
    signed = {"X-Actor-Subject": CALLER, "X-Actor-Roles": "admin", "X-Actor-Signature": f"t=1,v1={'0' * 64}"}
    for service, method, path in (
        ("ingest", "POST", "/events"),
        ("query-api", "GET", f"/orgs/{ORG}/usage"),
        ("export", "GET", f"/orgs/{ORG}/exports"),
    ):
        url = f"{platform.services[service].url}/analytics/v1{path}"
        for headers in ({"Authorization": f"Bearer {forged}"}, {"Authorization": f"Bearer {MAIL}"}, signed):
            answer = httpx.request(method, url, headers=headers, timeout=30, trust_env=False)
            assert answer.status_code in {401, 503}, answer.text


def export(platform: Platform, bearer: str) -> str:
    """A file about people, a webhook that cannot be called, and the signed URL of the file."""
    job = create_export(platform, bearer)
    path = f"/orgs/{ORG}/exports/{job}"
    wait_until(lambda: platform.call("export", "GET", path, bearer=bearer).json()["status"] == "succeeded", "the file")
    wait_until(lambda: "webhook_not_delivered" in platform.services["export"].log(), "the call of the webhook")
    for more in ("/manifest", "/verify"):
        platform.call("export", "POST" if more == "/verify" else "GET", f"{path}{more}", bearer=bearer)
    for body in ({"template": MAIL}, {"timeRange": MAIL}, {"webhook": {"url": f"http://{MAIL}:canary-query-17@h/"}}):
        refused = platform.call("export", "POST", f"/orgs/{ORG}/exports", bearer=bearer, json=body)
        assert refused.status_code == 422, refused.text
    location: str = platform.call("export", "GET", f"{path}/download", bearer=bearer).headers["Location"]
    return location


def create_export(platform: Platform, bearer: str) -> str:
    start = now().replace(hour=0, minute=0, second=0, microsecond=0)
    body = {
        "template": "incident",
        "granularity": "events",
        "timeRange": {"start": start.isoformat(), "end": (start + timedelta(days=1)).isoformat()},
        "filters": {"clientId": [MAIL], "actorId": [ACTOR]},
        "webhook": {"url": "http://127.0.0.1:1/canary-path-17?token=canary-query-17"},
    }
    created = platform.call("export", "POST", f"/orgs/{ORG}/exports", bearer=bearer, json=body)
    assert created.status_code == 202, created.text
    job: str = created.json()["jobId"]
    return job


def lose_servers(platform: Platform) -> None:
    """Start the services again where database and cache are away, and broker and object store refuse them."""
    for environment in platform.environments.values():
        for name in WHO_SETS_PASSWORDS:
            if name in environment:
                url = urlsplit(environment[name])
                port = url.port if "RABBITMQ" in name else 1
                there = f"{url.username or ''}:{WRONG_PASSWORD}@{url.hostname}:{port}"
                environment[name] = url._replace(netloc=there).geturl()
    for service in platform.environments:
        platform.start(service)
    for service, process in platform.services.items():
        wait_until(partial(is_healthy, process.url), f"{service} answers")
        wait_until(lambda: "dependency_unreachable" in process.log(), f"{service} misses its servers")  # noqa: B023


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/analytics/v1/status/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def stopped(platform: Platform, *services: str) -> list[str]:
    """All that the services have written by the time that they have ended."""
    lines: list[str] = []
    for service in services or tuple(platform.services):
        process = platform.services[service]
        assert process.stop() == 0, process.log()
        lines += process.log().splitlines()
    return lines


def now() -> datetime:
    return datetime.now(UTC)
