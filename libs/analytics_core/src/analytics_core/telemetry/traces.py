"""Traces over OTLP; nothing is recorded where no collector is configured.

What one process hands to another is a W3C `traceparent`. Work for many traces at once (a batch, a fold) is a child of
none of them: its span is the root of a trace of its own, with a link to each.
"""

from collections.abc import Iterable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from analytics_core.settings import ServiceSettings
from analytics_core.telemetry.logs import redact_text

_W3C = TraceContextTextMapPropagator()


def configure_traces(settings: ServiceSettings) -> TracerProvider | None:
    """Export spans to the configured collector; the caller shuts the provider down to flush the last ones."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    resource = Resource.create(
        {"service.name": settings.service_name, "deployment.environment.name": settings.environment}
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(RedactingExporter(_exporter(settings))))
    trace.set_tracer_provider(provider)
    return provider


def current_traceparent() -> str | None:
    """What continues the current span elsewhere and later; None where there is no trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent")


def link_current_span(traceparents: Iterable[str | None]) -> None:
    """Link the current span to these; what is no trace context is left out."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    for traceparent in traceparents:
        linked = trace.get_current_span(_W3C.extract({"traceparent": traceparent or ""}, Context()))
        if linked.get_span_context().is_valid:
            span.add_link(linked.get_span_context())


class RedactingExporter(SpanExporter):
    """Masks in spans what is masked in logs: an error that a span records may quote a URL or a value."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_redacted(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _redacted(span: ReadableSpan) -> ReadableSpan:
    description = span.status.description
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_redacted_attributes(span.attributes),
        events=[Event(event.name, _redacted_attributes(event.attributes), event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code, description and redact_text(description)),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _redacted_attributes(attributes: Mapping[str, AttributeValue] | None) -> dict[str, AttributeValue]:
    given = (attributes or {}).items()
    return {key: redact_text(value) if isinstance(value, str) else value for key, value in given}


def _exporter(settings: ServiceSettings) -> SpanExporter:
    endpoint = settings.otel_exporter_otlp_endpoint or ""
    # Imported by whoever sends traces, and one of them: gRPC takes 19 MiB, HTTP 5.
    if settings.otel_exporter_otlp_protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415 — see above
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 — see above
        OTLPSpanExporter as HttpExporter,
    )

    return HttpExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
