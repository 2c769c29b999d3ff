"""The gateway on a real nginx: which service gets a request, and what of it."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.echo import echo_server
from tests.support.gateways import gateway_before
from tests.support.stack import Servers
from tools.devstack.ports import Ports

ORG = "5b1d9c1e-7f65-4c8e-9a51-0c7b3a2d9f10"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Gateway:
    port: int

    def send(self, request: str) -> Answer:
        """Sends exactly this text, which no HTTP client would."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request.encode("latin-1"))
            answer = b""
            while part := connection.recv(65536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").lower().split("\r\n")
        return Answer(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), json.loads(body))

    def get(self, target: str, *headers: str) -> Answer:
        """GETs `target` as it stands, dots and escapes included."""
        lines = (f"GET {target} HTTP/1.1", "Host: gateway.test", "Connection: close", *headers, "", "")
        return self.send("\r\n".join(lines))


@dataclass(frozen=True)
class Running:
    gateway: Gateway
    stop_upstream: Callable[[str], None]


@contextlib.contextmanager
def gateway_with_echoes(folder: Path, free_port: Callable[[], int]) -> Iterator[Running]:
    """The gateway with an echo behind each service name."""
    ports = Ports(**{field.name: free_port() for field in fields(Ports)})
    with ExitStack() as places:
        upstreams = {name: places.enter_context(ExitStack()) for name in ("ingest", "query_api", "export")}
        for name, place in upstreams.items():
            place.enter_context(echo_server(name, getattr(ports, name)))
        places.enter_context(gateway_before(ports, folder))
        yield Running(Gateway(ports.gateway), lambda name: upstreams[name].close())


@pytest.fixture(scope="module")
def running(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Running]:
    with gateway_with_echoes(tmp_path_factory.mktemp("gateway"), free_port) as both:
        yield both


@pytest.fixture
def web(running: Running) -> Gateway:
    return running.gateway


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/events", "ingest"),
        ("/events/validate", "ingest"),
        ("/dead-letters", "ingest"),
        ("/dead-letters/replay", "ingest"),
        (f"/orgs/{ORG}/exports", "export"),
        (f"/orgs/{ORG}/exports?limit=10&cursor=a%2Fb", "export"),
        ("/exports/7f0c", "export"),
        ("/exports/7f0c/download", "export"),
        (f"/orgs/{ORG}/usage?timezone=Europe%2FBerlin", "query_api"),
        (f"/orgs/{ORG}/dimensions/model", "query_api"),
        ("/usage", "query_api"),
        ("/audit", "query_api"),
        ("/status/readyz", "query_api"),
        # Near misses of the other services' paths are the query API's to refuse.
        ("/eventsource", "query_api"),
        (f"/orgs/{ORG}/exports-of-others", "query_api"),
    ],
)
def test_each_path_reaches_its_service_unchanged(web: Gateway, path: str, service: str) -> None:
    """A request at the wrong service is a 404 that nobody understands."""
    answer = web.get(f"/analytics/v1{path}")

    assert (answer.status, answer.body["server"], answer.body["path"]) == (200, service, f"/analytics/v1{path}")


@pytest.mark.parametrize(
    "target",
    [
        "/metrics",
        "//metrics",
        "/./metrics",
        "/metrics/",
        "/metrics?x=/analytics/v1/usage",
        "/%6d%65trics",
        "/analytics/v1/../../metrics",
        "/analytics/v1/..%2f..%2fmetrics",
        "/analytics/v1/%2e%2e/%2e%2e/metrics",
        "/analytics/v1//../../metrics",
        "/analytics/v1/..;/..;/metrics",
        "/analytics/v1/usage/..\\..\\..\\metrics",
        "/metrics/../analytics/v1/usage",
        "/metrics%2f..%2fanalytics/v1/usage",
        "http://gateway.test/metrics",
        "/analytics/v1",
        "/analytics/v1/",
        "/analytics/v10/usage",
        "/ANALYTICS/V1/usage",
        "/openapi/openapi.json",
        "/problem",
        "/",
    ],
)
def test_only_plain_paths_of_the_api_exist(web: Gateway, target: str) -> None:
    """Metrics tell a stranger who the customers are; no spelling of the path may reach them."""
    answer = web.get(target)

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.body["status"], answer.body["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "headers",
    [
        *((f"X-Actor-{name}: forged",) for name in ("Subject", "Roles", "Orgs", "Signature", "Timestamp", "New")),
        ("x-aCtOr-sUbJeCt: forged",),
        ("X_Actor_Subject: forged",),
        ("X-Actor_Subject: forged",),
        ("X-Actor-Subject: forged", "X-Actor-Subject: forged"),
        ("X-Actor-Subject: forged", "Connection: X-Actor-Subject, close"),
        ("X-Actor-Subject : forged",),
        ("Accept: text/html", " X-Actor-Subject: forged"),
        ("X-Forwarded-User: forged", "X-Real-Subject: forged"),
    ],
)
def test_nobody_brings_an_identity_from_outside(web: Gateway, headers: tuple[str, ...]) -> None:
    """The services trust X-Actor-* headers; whoever could send one would be whoever they like."""
    answer = web.get("/analytics/v1/usage", *headers)

    assert answer.status in {200, 400}
    assert "forged" not in json.dumps(answer.body.get("headers"))


def test_what_the_services_need_of_a_request_reaches_them(web: Gateway) -> None:
    """The gateway passes on a list of headers; one that is missing there would break a client silently."""
    sent = {
        "authorization": "Bearer abc",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "content-type": "application/x-ndjson",
        "if-none-match": '"etag"',
        "idempotency-key": "key-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "user-agent": "test",
    }
    response = httpx.post(f"http://127.0.0.1:{web.port}/analytics/v1/events", headers=sent, content=b"{}\n{}")

    received = dict(response.json()["headers"])
    assert received == received | sent
    assert (response.json()["method"], response.json()["body"]) == ("POST", 5)


def test_the_client_address_cannot_be_forged(web: Gateway) -> None:
    """Rate limits and audit records go by it."""
    answer = web.get("/analytics/v1/usage", "X-Forwarded-For: 6.6.6.6")

    assert ["x-forwarded-for", "127.0.0.1"] in answer.body["headers"]


@pytest.mark.parametrize("given", ["", "has space", "x" * 129, "line\tbreak", 'quote"', "<script>"])
def test_a_request_id_that_is_none_is_replaced(web: Gateway, given: str) -> None:
    """The id ends up in logs and audit rows of every service."""
    answer = web.get("/analytics/v1/usage", f"X-Request-Id: {given}")

    passed_on = dict(answer.body["headers"])["x-request-id"]
    assert len(passed_on) == 32
    assert answer.headers["x-request-id"] == passed_on


def test_a_good_request_id_is_kept(web: Gateway) -> None:
    """It joins the caller's logs with ours, errors of the gateway itself included."""
    answered = web.get("/analytics/v1/usage", "X-Request-Id: call-1:7")
    refused = web.get("/nowhere", "X-Request-Id: call-1:7")

    assert ["x-request-id", "call-1:7"] in answered.body["headers"]
    assert (refused.headers["x-request-id"], refused.body["instance"]) == ("call-1:7", "call-1:7")


def test_no_version_is_told(web: Gateway) -> None:
    """A version is the first thing that an attacker looks up."""
    assert web.get("/nowhere").headers["server"] == "nginx"
    assert web.get("/analytics/v1/usage").headers["server"] == "nginx"


def test_a_batch_of_events_passes_and_an_absurd_body_does_not(web: Gateway) -> None:
    """1000 events of 64 KiB must get to the service, which knows its own limits."""
    url = f"http://127.0.0.1:{web.port}/analytics/v1/events"
    large = httpx.post(url, content=bytes(66_000_000), timeout=30)
    absurd = web.send(
        "POST /analytics/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 900000000\r\n\r\n"
    )

    assert large.json()["body"] == 66_000_000
    assert (absurd.status, absurd.body["code"]) == (413, "too-large")
    assert absurd.headers["content-type"] == "application/problem+json"


def test_a_malformed_request_gets_a_problem_too(web: Gateway) -> None:
    """A client parses every error in the same way."""
    answer = web.get("/analytics/v1/usage", "Content-Length: many")

    assert (answer.status, answer.body["code"]) == (400, "bad-request")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_service_that_is_away_is_said_and_comes_back(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """While a service restarts its clients are told to try again; the other services do not notice."""
    with gateway_with_echoes(tmp_path, free_port) as running:
        running.stop_upstream("export")
        away = running.gateway.get("/analytics/v1/exports/1.json")

        assert (away.status, away.body["code"], away.body["status"]) == (502, "unavailable", 502)
        assert away.headers["content-type"] == "application/problem+json"
        assert int(away.headers["retry-after"]) > 0
        assert running.gateway.get("/analytics/v1/usage").status == 200


def test_a_websocket_may_be_asked_for(running: Running) -> None:
    """The handshake reaches the service, and nothing else of a connection is the caller's to choose."""
    target = f"/analytics/v1/orgs/{ORG}/usage/stream"
    asked = running.gateway.get(target, "Upgrade: websocket", "Sec-WebSocket-Key: abc", "Sec-WebSocket-Version: 13")
    other = running.gateway.get(target, "Upgrade: h2c", "Last-Event-ID: 7")

    headers, plain = dict(asked.body["headers"]), dict(other.body["headers"])
    assert (headers["upgrade"], headers["connection"], headers["sec-websocket-key"]) == ("websocket", "upgrade", "abc")
    assert ("connection" in plain, plain["last-event-id"]) == (False, "7")
