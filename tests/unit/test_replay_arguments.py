"""The command line: what it means, and what it refuses before anything is published."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tools.replay import __main__, arguments
from tools.replay.messages import Disorder
from tools.replay.pacing import Pace

URL = "rabbitmq-stream://user:secret@127.0.0.1:5552/vhost"


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RABBITMQ_STREAM_URL", raising=False)
    monkeypatch.delenv("RABBITMQ_STREAM", raising=False)
    monkeypatch.setattr(arguments, "ENV_FILE", tmp_path / "env")


def test_defaults_are_a_day_that_ends_now() -> None:
    """`replay` alone does something useful."""
    options = arguments.parse(["--url", URL])

    assert datetime.now(UTC) - options.source.anchor < timedelta(seconds=10)
    assert not options.source.anchor_is_start
    assert options.source.duration == timedelta(hours=24)
    assert (options.source.seed, options.stream, options.pace) == (1, "analytics.usage.v1", Pace())
    assert options.print_json


def test_every_option_arrives() -> None:
    """The whole line at once."""
    line = (
        "--events 10 --seed 4 --orgs 3 --start 2026-11-01T01:00:00+01:00 --duplicates 0.01 --late 0.02 --invalid 0.001"
        f" --duration 90m --speed 10 --url {URL} --stream other --partitions 3 --ledger out.json --quiet"
    )
    options = arguments.parse(line.split())

    assert options.source.anchor == datetime(2026, 11, 1, tzinfo=UTC)
    assert options.source.anchor_is_start
    assert options.source.disorder == Disorder(duplicates=0.01, late=0.02, invalid=0.001)
    assert options.source.duration == timedelta(minutes=90)
    assert (options.pace, options.partitions, options.ledger) == (Pace(speed=10), 3, Path("out.json"))
    assert options.quiet
    assert not options.print_json


def test_the_url_comes_from_the_environment_or_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `up`, no URL is needed."""
    arguments.ENV_FILE.write_text(f"RABBITMQ_STREAM_URL={URL}\n")
    assert arguments.parse([]).url == URL

    monkeypatch.setenv("RABBITMQ_STREAM_URL", URL.replace("5552", "1"))
    assert arguments.parse([]).url == URL.replace("5552", "1")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "start the stack"),
        ("--url amqp://host", "rabbitmq-stream://"),
        (f"--url {URL} --events 0", "whole number"),
        (f"--url {URL} --orgs 1.5", "whole number"),
        (f"--url {URL} --late 2", "fraction"),
        (f"--url {URL} --invalid x", "fraction"),
        (f"--url {URL} --rate 0", "above 0"),
        (f"--url {URL} --rate 5 --speed 5", "not allowed with"),
        (f"--url {URL} --start now --ending now", "not allowed with"),
        (f"--url {URL} --ending yesterday", "RFC 3339"),
        (f"--url {URL} --ending 2026-11-01T12:00:00", "no offset"),
        (f"--url {URL} --duration 24", "duration"),
        (f"--url {URL} --trace t.csv --duration 1h", "--duration is for the generator"),
        (f"--url {URL} --conflicts 0.1 --shuffle 1", "needs an order"),
        (f"--url {URL} --conflicts 0.1 --partitions 2", "needs an order"),
    ],
)
def test_nonsense_is_refused_with_a_reason(line: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is published."""
    with pytest.raises(SystemExit) as left:
        arguments.parse(line.split())

    assert left.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_wrong_url_of_the_environment_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Error messages end up in issue trackers."""
    monkeypatch.setenv("RABBITMQ_STREAM_URL", "amqp://user:secret@host/")

    with pytest.raises(SystemExit):
        arguments.parse([])

    complaint = capsys.readouterr().err
    assert "RABBITMQ_STREAM_URL" in complaint
    assert "secret" not in complaint


def test_a_missing_trace_is_an_unusable_option(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and the file's name, no traceback."""
    assert __main__.main(["--url", URL, "--trace", "/nowhere/trace.csv"]) == 2
    assert "/nowhere/trace.csv" in capsys.readouterr().err.replace("\n", "")
