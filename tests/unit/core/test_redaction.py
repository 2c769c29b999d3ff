"""Nothing that is logged gives access to anything."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from analytics_core.telemetry.logs import configure_logs, redact_text


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


def test_lower_levels_are_left_out(written: io.StringIO) -> None:
    """LOG_LEVEL is the lowest that is written."""
    structlog.get_logger().debug("detail")

    assert written.getvalue() == ""
