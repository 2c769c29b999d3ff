"""The arguments of `analytics-ingest dead-letters`; what it does is tested on a running service."""

import argparse
from pathlib import Path

import pytest

from analytics_ingest.dead_letters_command import add_arguments


def parsed(*words: str) -> argparse.Namespace:
    """As the program reads them, checks included."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(words)
    if "check" in arguments:
        arguments.check(arguments)
    return arguments


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "VERB"),
        (["replay"], "say which"),
        (["replay", "5", "--reason", "missing_field"], "not both"),
        (["replay", "5", "--all"], "not allowed with"),
        (["replay", "--all", "--body", "f"], "give its id"),
        (["replay", "5", "--body", "/nofile"], "--body: cannot read /nofile: No such file"),
        (["replay", "5", "--body", "/"], "--body: cannot read /: Is a directory"),
        (["replay", "--reason", "mising_field"], "missing_field"),
        (["list", "--start", "today"], "--start: expected a time such as"),
        (["list", "--limit", "abc"], "--limit: expected a number from 1 on, not 'abc'"),
        (["list", "--start", "2026-03-10T12:00:00"], "with an offset"),
        (["list", "--limit", "0"], "from 1 on"),
        (["list", "--org", "acme"], "--org"),
        (["show", "x"], "id: expected a number"),
        (["show", str(2**63)], "from 1 on"),
    ],
)
def test_what_is_not_understood_is_said_and_nothing_is_done(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, before any server is asked."""
    with pytest.raises(SystemExit) as ended:
        parsed(*words)

    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_a_filter_or_an_id_or_everything_is_replayed(tmp_path: Path) -> None:
    """The three ways to say which."""
    (tmp_path / "event.json").write_text("{}")
    one = parsed("replay", "5", "--body", str(tmp_path / "event.json"))

    assert (one.id, one.corrected) == (5, b"{}")
    assert parsed("replay", "--reason", "missing_field", "--dry-run").dry_run
    assert parsed("replay", "--all").all
    assert parsed("list").subject.startswith("operator:")
