"""Traces over OTLP; nothing is recorded where no collector is configured."""

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from analytics_core.settings import ServiceSettings


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


def _exporter(settings: ServiceSettings) -> SpanExporter:
    endpoint = settings.otel_exporter_otlp_endpoint or ""
    if settings.otel_exporter_otlp_protocol == "grpc":
        return GrpcExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
    return HttpExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
