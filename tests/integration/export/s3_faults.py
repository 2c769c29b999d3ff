"""A proxy before an S3 server that passes requests on, and does to some of them what storages do on bad days."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.stack import ObjectStore

CHUNK_BYTES = 65_536


@dataclass
class Fault:
    """What is done to the requests whose first line has `text`: `times` of them, `hits` counts."""

    text: str
    do: Callable[["Handler"], None]
    times: int = 1_000_000
    hits: int = 0


def answers(status: int, code: str | None) -> Callable[["Handler"], None]:
    """The storage refuses: in S3's words, or without any."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b"no"

    def do(handler: "Handler") -> None:
        handler.answer(status, {"Content-Type": "application/xml" if code else "text/plain"}, body)

    return do


def resets(handler: "Handler") -> None:
    """The connection breaks, after the request and before its answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def delays(seconds: float) -> Callable[["Handler"], None]:
    """The request arrives late, and so does its answer."""

    def do(handler: "Handler") -> None:
        time.sleep(seconds)  # what a slow storage does
        handler.pass_on()

    return do


class S3Proxy(ThreadingHTTPServer):
    """Passes everything on but what `fault` takes."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = urlsplit(target).netloc
        self.fault: Fault | None = None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def takes(self, request_line: str) -> Callable[["Handler"], None] | None:
        """What is to be done to this request."""
        with self.lock:
            fault = self.fault
            if fault is None or fault.text not in request_line or fault.hits >= fault.times:
                return None
            fault.hits += 1
            return fault.do

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: S3Proxy
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        do = self.server.takes(self.requestline)
        if do is None:
            self.pass_on()
        else:
            do(self)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 — the names are the base class's

    def pass_on(self) -> None:
        """Signatures cover the host that the client has called, so it stays."""
        connection = HTTPConnection(self.server.target, timeout=60)
        connection.request(self.command, self.path, self.body, dict(self.headers))
        response = connection.getresponse()
        self.answer(response.status, dict(response.getheaders()), response.read())
        connection.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name is the base class's
        pass


@contextmanager
def s3_proxy(s3: ObjectStore) -> Iterator[S3Proxy]:
    """A listening proxy for the length of the block."""
    with S3Proxy(s3.endpoint) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
