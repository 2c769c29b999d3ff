"""Traces over OTLP; nothing is recorded where no collector is configured.

What one process hands to another is a W3C `traceparent`. Work for many traces at once (a batch, a fold) is a child of
none of them: its span is the root of a trace of its own, with a link to each.
"""

from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from analytics_core.settings import ServiceSettings

_W3C = TraceContextTextMapPropagator()


def configure_traces(settings: ServiceSettings) -> TracerProvider | None:
    """Export spans to the configured collector; the caller shuts the provider down to flush the last ones."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    resource = Resource.create(
        {"service.name": settings.service_name, "deployment.environment.name": settings.environment}
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(_exporter(settings)))
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


def _exporter(settings: ServiceSettings) -> SpanExporter:
    endpoint = settings.otel_exporter_otlp_endpoint or ""
    if settings.otel_exporter_otlp_protocol == "grpc":
        return GrpcExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
    return HttpExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
