"""JSON logs on standard output, one object a line, without secrets."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from opentelemetry import trace

# What may stand between :// and @ in a URL, and the query of a signed URL: both are credentials.
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^/\s:@]*):[^/\s@]+@")
_SIGNED_QUERY = re.compile(r"\?[^\s\"']*X-Amz-[^\s\"']*")


def redact_text(text: str) -> str:
    """The text with passwords in URLs and the queries of signed URLs masked."""
    return _SIGNED_QUERY.sub("?[redacted]", _URL_PASSWORD.sub(r"\g<scheme>:[redacted]@", text))


def _redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact_text(value) if isinstance(value, str) else value for key, value in event.items()}


def _add_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def configure_logs(service: str, level: str, stream: TextIO | None = None) -> None:
    """Send our own and all libraries' log records to `stream` (by default standard output) as JSON."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_trace,
        structlog.processors.format_exc_info,
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.access", "uvicorn.error", "aio_pika", "aiormq", "httpx"):
        logging.getLogger(noisy).setLevel(max(root.level, logging.WARNING))
    structlog.contextvars.bind_contextvars(service=service)
