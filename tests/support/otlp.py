"""An OTLP collector: takes spans over gRPC and over HTTP, as real ones do, and keeps them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

Context = tuple[str, str]
"""Trace id and span id, in hex."""


@dataclass(frozen=True)
class SeenSpan:
    """A span as it arrived."""

    service: str
    name: str
    context: Context
    parent: str
    """Span id; empty for the root of a trace."""
    links: tuple[Context, ...]
    attributes: dict[str, Any]
    text: str
    """All of it, for searching."""


@dataclass
class Collector:
    """The spans so far, of all processes that export to `grpc_url` or `http_url`."""

    spans: list[SeenSpan] = field(default_factory=list)
    grpc_url: str = ""
    http_url: str = ""

    def named(self, name: str) -> list[SeenSpan]:
        return [span for span in self.spans if span.name == name]

    def linked_to(self, name: str, context: Context) -> list[SeenSpan]:
        """Spans of this name with a link to that context."""
        return [span for span in self.named(name) if context in span.links]

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            named = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans.extend(_seen(named.get("service.name", ""), span) for span in scope.spans)


def _seen(service: str, span: Any) -> SeenSpan:
    return SeenSpan(
        service=service,
        name=span.name,
        context=(span.trace_id.hex(), span.span_id.hex()),
        parent=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes={
            item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value") for item in span.attributes
        },
        text=str(span),
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A listening collector for the length of the block."""
    collector = Collector()
    web = _web_server(collector)
    thread = Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    rpc = grpc.server(ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(_Service(collector), rpc)  # type: ignore[no-untyped-call]
    collector.grpc_url = f"http://127.0.0.1:{rpc.add_insecure_port('127.0.0.1:0')}"
    collector.http_url = f"http://127.0.0.1:{web.server_port}"
    rpc.start()
    try:
        yield collector
    finally:
        rpc.stop(None).wait()
        web.shutdown()
        thread.join()
        web.server_close()


class _Service(TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(  # noqa: N802 — gRPC's naming
        self,
        request: ExportTraceServiceRequest,
        _context: object,
    ) -> ExportTraceServiceResponse:
        self._collector.take(request)
        return ExportTraceServiceResponse()


def _web_server(collector: Collector) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            collector.take(request)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — http.server's naming
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
