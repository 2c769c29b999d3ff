"""Reading a trace loses nothing: every microsecond and every token is in the calls."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tools.replay.calls import Call, microseconds, moment
from tools.replay.trace import TraceError, ending_at, read_trace, starting_at

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
AZURE = HEADER + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951697,396,109\n"


def trace_file(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_seven_digits_are_cut_to_microseconds(tmp_path: Path) -> None:
    """Rounding up could move an event into the next bucket; cutting cannot."""
    calls = read_trace(trace_file(tmp_path, AZURE))

    assert [moment(call.occurred_us).isoformat() for call in calls] == [
        "2023-11-16T18:15:46.680590+00:00",
        "2023-11-16T18:15:50.995169+00:00",
    ]
    assert [(call.input_tokens, call.output_tokens) for call in calls] == [(374, 44), (396, 109)]


@pytest.mark.parametrize(("written", "microsecond"), [("18:15:46", 0), ("18:15:46.5", 500_000), ("18:15:46.000001", 1)])
def test_fewer_digits_are_read_too(tmp_path: Path, written: str, microsecond: int) -> None:
    """Tools that rewrite a trace drop trailing zeros."""
    (call,) = read_trace(trace_file(tmp_path, f"{HEADER}2023-11-16 {written},1,2\n"))

    assert moment(call.occurred_us).microsecond == microsecond


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected the columns"),
        ("a,b\n1,2\n", "expected the columns"),
        (HEADER, "no rows"),
        (HEADER + "yesterday,1,2\n", "trace.csv:2"),
        (HEADER + "2023-11-16 18:15:46,1\n", "trace.csv:2"),
        (HEADER + "2023-11-16 18:15:46,1,2.5\n", "trace.csv:2"),
        (HEADER + "2023-11-16 18:15:46,1,-2\n", "negative"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    """A trace that is half read would give totals that match nothing."""
    with pytest.raises(TraceError, match=complaint):
        read_trace(trace_file(tmp_path, text))


def test_a_trace_moves_by_whole_seconds() -> None:
    """The fractions stay, so that moved events can be told by them and distances are kept."""
    calls = [Call(5_250_000, 1, 1), Call(9_750_000, 1, 1)]
    at = datetime(2026, 11, 1, 12, 0, 0, 500_000, tzinfo=UTC)

    started, ended = starting_at(calls, at), ending_at(calls, at)

    assert [call.occurred_us % 1_000_000 for call in started + ended] == [250_000, 750_000] * 2
    assert started[1].occurred_us - started[0].occurred_us == 4_500_000
    assert timedelta(0) <= moment(started[0].occurred_us) - at < timedelta(seconds=1)
    assert timedelta(0) <= at - moment(ended[1].occurred_us) < timedelta(seconds=1)


def test_unsorted_traces_are_anchored_by_their_earliest_and_latest_call() -> None:
    """A merged trace need not be in order."""
    calls = [Call(9_000_000, 1, 1), Call(5_000_000, 1, 1)]
    at = datetime(2026, 11, 1, tzinfo=UTC)

    assert min(starting_at(calls, at)).occurred_us == microseconds(at)
    assert max(ending_at(calls, at)).occurred_us == microseconds(at)
