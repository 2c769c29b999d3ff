"""JSON logs on standard output, one object a line, without secrets and without what events say about people.

The rule for callers: log ids of ours, codes and counts, never what a caller or an event has sent. What libraries put
into their errors is masked as far as it can be recognised.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from opentelemetry import trace

_MASKED = (
    # Credentials: what may stand between :// and @ in a URL, the query of a signed URL, a JSON web token.
    (re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^/\s:@]*):[^/\s@]+@"), r"\g<scheme>:[redacted]@"),
    (re.compile(r"\?[^\s\"']*X-Amz-[^\s\"']*"), "?[redacted]"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "[redacted]"),
    # People: asyncpg quotes the value that a statement could not take; an e-mail address.
    (re.compile(r"(query argument \$\d+: ).*( \()"), r"\1[redacted]\2"),
    (re.compile(r"(?<![\w.+/:-])[\w.+-]+@[\w-]+(\.[\w-]+)+"), "[redacted]"),
)


def redact_text(text: str) -> str:
    """The text with credentials and e-mail addresses masked."""
    for pattern, mask in _MASKED:
        text = pattern.sub(mask, text)
    return text


def _redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redact_text(value)
        case dict():
            return {key: _redacted(item) for key, item in value.items()}
        case list() | tuple() | set():
            return [_redacted(item) for item in value]
        case _:
            return value


def _add_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def _may_be_written(record: logging.LogRecord) -> bool:
    """Libraries only warn: below that they write down passwords, events and URLs (rstream, httpx), frame by frame."""
    return record.levelno >= logging.WARNING or record.name.startswith("analytics_")


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
        # What nobody will read is dropped before anything is made of it.
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
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
    handler.addFilter(_may_be_written)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    structlog.contextvars.bind_contextvars(service=service)
