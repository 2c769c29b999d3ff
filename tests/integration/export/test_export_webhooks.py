"""Calls to somebody's server when an export has ended: signed, repeated, never redirected, never inside our network."""

import hashlib
import hmac
import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import jsonschema
import pytest
import yaml

from tests.integration.export.running import PATIENCE_S, ExportApi, environment
from tests.support.callers import token
from tests.support.polling import eventually
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq
from tools.openapi import path_of

HOOKS = {
    "EXPORT_WEBHOOK_HOSTS": "localhost", "EXPORT_WEBHOOK_SECRET": "x" * 32, "EXPORT_WEBHOOK_PRIVATE": "true",
    "EXPORT_WORKER_INTERVAL": "200ms",
}  # fmt: skip


class Receiver(ThreadingHTTPServer):
    """Answers with the next of `answers`, the last one again and again; keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [200]
        self.got: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0])
        self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name is the base class's
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def start_export(
    make_database: Callable[..., Database],
    rabbitmq: RabbitMq,
    s3: ObjectStore,
    free_port: Callable[[], int],
    service_processes: ServiceProcesses,
) -> Callable[..., ExportApi]:
    def start(**variables: str) -> ExportApi:
        env = environment(make_database(), rabbitmq, s3, free_port(), {**HOOKS, **variables})
        return ExportApi(service_processes.start("analytics-export", env), uuid4())

    return start


def test_a_call_is_repeated_until_it_is_taken_and_can_be_verified(
    start_export: Callable[..., ExportApi], receiver: Receiver
) -> None:
    """Errors and redirects are no delivery; each call has the same id, and a signature that the secret confirms."""
    api = start_export()
    receiver.answers = [500, 302, 204]
    job = api.finished(webhook={"url": receiver.url})
    eventually(lambda: api.show(job["jobId"])["webhook"]["deliveredAt"])
    bearer = token("org:admin", orgs=[api.org_id])
    secret = api.send("GET", f"/orgs/{api.org_id}/export-webhook-secret", bearer).json()["secret"]

    shown = api.show(job["jobId"])["webhook"]
    assert (shown["attempts"], shown["error"], shown["url"]) == (3, None, receiver.url)
    assert {path for path, _, _ in receiver.got} == {"/hook"}
    assert len({head["webhook-id"] for _, head, _ in receiver.got}) == 1
    for _, head, body in receiver.got:
        signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
        digest = hmac.digest(b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256)
        assert head["webhook-signature"] == f"v1,{b64encode(digest).decode()}"
        assert head["host"] == f"localhost:{receiver.server_port}"
        message = json.loads(body)
        assert (message["type"], message["data"]["checksum"]) == ("export.succeeded", job["checksum"])
        assert "X-Amz" not in body.decode()


@pytest.mark.parametrize("ended", ["succeeded", "canceled", "failed"])
def test_a_call_keeps_to_the_contract(start_export: Callable[..., ExportApi], receiver: Receiver, ended: str) -> None:
    """Headers and body of a call that was really made, against `webhooks` of the OpenAPI document."""
    document = yaml.safe_load(path_of("export").read_text())
    operation = document["webhooks"]["exportEnded"]["post"]
    schema = document | operation["requestBody"]["content"]["application/json"]["schema"]
    overrides = {"failed": {"EXPORT_BYTES_MAX": "1"}, "canceled": {"EXPORT_WORKER_CONCURRENCY": "0"}}
    api = start_export(**overrides.get(ended, {}))
    job_id = api.create(webhook={"url": receiver.url})["jobId"]
    if ended == "canceled":
        api.request("DELETE", f"/{job_id}")
    eventually(lambda: receiver.got, PATIENCE_S)
    _, head, body = receiver.got[0]
    message = json.loads(body)

    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(message)

    assert message["type"] == f"export.{ended}"
    assert set(message["data"]) == set(document["components"]["schemas"]["Export"]["properties"])
    assert {each["name"] for each in operation["parameters"] if each["required"]} <= set(head)


def test_an_address_of_our_own_network_is_not_called(
    start_export: Callable[..., ExportApi], receiver: Receiver
) -> None:
    """The name is on the list, the address that it has is ours."""
    api = start_export(EXPORT_WEBHOOK_PRIVATE="false")

    job = api.finished(webhook={"url": f"https://localhost:{receiver.server_port}/hook"})
    eventually(lambda: api.show(job["jobId"])["webhook"]["error"])

    assert "not public" in api.show(job["jobId"])["webhook"]["error"]
    assert receiver.got == []
    assert (
        api.request("POST", json={"webhook": {"url": receiver.url}, "timeRange": job["timeRange"]}).status_code == 422
    )
