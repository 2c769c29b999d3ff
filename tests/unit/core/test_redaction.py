"""Nothing that is logged gives access to anything."""

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link

from analytics_core.telemetry.logs import configure_logs, redact_text
from analytics_core.telemetry.traces import RedactingExporter
from tests.support.callers import token


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://user:pass@host:5432/db", "postgres://user:[redacted]@host:5432/db"),
        (
            "cannot reach amqp://a:b@h/v and redis://:c@h",
            "cannot reach amqp://a:[redacted]@h/v and redis://:[redacted]@h",
        ),
        ("rabbitmq-stream://a:p%40ss@h:5552/v", "rabbitmq-stream://a:[redacted]@h:5552/v"),
        ("http://h/k?X-Amz-Signature=abc&x=1 done", "http://h/k?[redacted] done"),
        ("http://h/k?a=1&X-Amz-Credential=abc", "http://h/k?[redacted]"),
        ("https://host/path?start=2026-03-10", "https://host/path?start=2026-03-10"),
        ("mail to user@host at 12:30", "mail to user@host at 12:30"),
        ("of jane.doe+x@mail.example.com, again", "of [redacted], again"),
        ("amqp://guest@rabbit.example.com:5672/v", "amqp://guest@rabbit.example.com:5672/v"),
        (f"Bearer {token('admin')}.", "Bearer [redacted]."),
        (
            "invalid input for query argument $3: 'Jane (Doe)' (expected int)",
            "invalid input for query argument $3: [redacted] (expected int)",
        ),
    ],
)
def test_credentials_are_masked_and_the_rest_is_kept(text: str, expected: str) -> None:
    """An operator still has to see which server is meant."""
    assert redact_text(text) == expected


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the process logs, with logging put back afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    configure_logs("analytics-test", "info")
    yield out
    root.handlers, root.level = before, level
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_logs_are_json_lines_without_secrets(written: io.StringIO) -> None:
    """Our own records and those of libraries, with stack traces in the same line."""
    url = "postgres://u:hidden@h/d"
    structlog.get_logger().warning("down", address=url)
    logging.getLogger("library").error("failed: %s", url)
    try:
        int(url)
    except ValueError:
        structlog.get_logger().exception("broken")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]

    assert [line["message"] for line in lines] == ["down", "failed: postgres://u:[redacted]@h/d", "broken"]
    assert all(line["service"] == "analytics-test" and line["time"].endswith("Z") for line in lines)
    assert "Traceback" in lines[2]["exception"]
    assert "hidden" not in written.getvalue()


def test_values_within_values_are_masked(written: io.StringIO) -> None:
    """What libraries log may be nested."""
    structlog.get_logger().warning("down", servers=[{"url": "redis://:hidden@h"}, ("jane@example.com",)], ports={1})
    (line,) = written.getvalue().splitlines()

    assert json.loads(line)["servers"] == [{"url": "redis://:[redacted]@h"}, ["[redacted]"]]


def test_libraries_only_warn(written: io.StringIO) -> None:
    """Their lower levels hold passwords and events, frame by frame; ours do not."""
    logging.getLogger("rstream.client").info("Sending frame: hidden")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
    logging.getLogger("analytics_core").info("ours")

    messages = [json.loads(line)["message"] for line in written.getvalue().splitlines()]
    assert len(messages) == 2
    assert "careful" in messages[0]
    assert messages[1] == "ours"


def test_spans_are_masked_as_logs_are() -> None:
    """Errors that they record, their status and their attributes; the rest of a span stays as it is."""
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(RedactingExporter(exported)))
    tracer = provider.get_tracer("test")
    url = "postgres://u:hidden@h/d"
    with tracer.start_as_current_span("earlier") as earlier:
        pass
    with (
        pytest.raises(ValueError, match="hidden"),
        tracer.start_as_current_span("work", links=[Link(earlier.get_span_context())], attributes={"a": url, "n": 7}),
    ):
        raise ValueError(url)

    _, work = exported.get_finished_spans()
    assert (work.name, work.links[0].context) == ("work", earlier.get_span_context())
    assert work.attributes == {"a": "postgres://u:[redacted]@h/d", "n": 7}
    assert work.events[0].name == "exception"
    assert "hidden" not in work.to_json()
    assert work.to_json().count("[redacted]") >= 4


def test_lower_levels_are_left_out(written: io.StringIO) -> None:
    """LOG_LEVEL is the lowest that is written."""
    structlog.get_logger().debug("detail")

    assert written.getvalue() == ""
