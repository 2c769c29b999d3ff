"""The demo's verdicts: it must see one micro-cent, and its commands must be fit to copy."""

import shlex
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tools.demo import __main__, curl
from tools.demo.api import Window
from tools.demo.comparison import differences, sums_by_model, sums_of_file, sums_of_point
from tools.demo.show import sparkline
from tools.demo.traffic import Traffic
from tools.replay.ledger import Sums

POINT = {
    "modelId": "gpt-4o",
    "invocations": 4,
    "successCount": 1,
    "errorCount": 1,
    "timeoutCount": 1,
    "throttledCount": 1,
    "inputTokens": 100,
    "outputTokens": 20,
    "cachedInputTokens": 10,
    "reasoningTokens": 5,
    "costEstimateCents": Decimal("0.000001"),
}
SUMS = Sums(4, 1, 1, 1, 1, 100, 20, 10, 5, 1)
FILE = (
    b"bucket_start,organization_id,model_id,request_count,success_count,error_count,timeout_count,throttled_count,"
    b"input_tokens,output_tokens,cached_input_tokens,reasoning_tokens,tokens_total,cost_estimate_cents\r\n"
    b"2026-11-01T00:00:00Z,o,gpt-4o,4,1,1,1,1,100,20,10,5,120,0.000001\r\n"
    b'2026-11-01T01:00:00Z,o,"odd\r\nname",4,1,1,1,1,100,20,10,5,120,999999.999999\r\n'
)
WINDOW = Window.around(datetime(2026, 11, 1, 22, 59, tzinfo=UTC), datetime(2026, 11, 2, 3, 0, tzinfo=UTC))


@pytest.mark.parametrize("cost", [Decimal("0.000001"), "0.000001"])
def test_a_point_of_the_api_is_read_to_the_micro_cent(cost: object) -> None:
    """Numbers and strings alike; a float would do for the first million and then not."""
    assert sums_of_point(POINT | {"costEstimateCents": cost}) == SUMS


def test_a_series_is_added_up_by_model() -> None:
    """Hours of one model are one row of the table."""
    series = [POINT, POINT, POINT | {"modelId": "o3-mini"}]

    assert sums_by_model(series) == {"gpt-4o": SUMS + SUMS, "o3-mini": SUMS}


def test_a_file_is_added_up_exactly() -> None:
    """Line breaks inside a quoted name included."""
    assert sums_of_file(FILE).cost_microcents == 1_000_000_000_000
    assert sums_of_file(FILE).events == 8


def test_one_micro_cent_is_a_difference() -> None:
    """The claim is equality, not closeness."""
    found = differences(SUMS, SUMS + Sums(cost_microcents=1))

    assert [(each.name, each.found - each.published) for each in found if not each.is_equal] == [("cost_microcents", 1)]


def test_a_window_is_whole_hours_around_all_events() -> None:
    """A bucket counts when it begins in the window, so the window begins with the first bucket."""
    assert WINDOW.query == {"start": "2026-11-01T22:00:00Z", "end": "2026-11-02T04:00:00Z"}
    assert WINDOW.whole_days.query == {"start": "2026-11-01T00:00:00Z", "end": "2026-11-03T00:00:00Z"}
    assert WINDOW.whole_days.whole_days == WINDOW.whole_days


def test_printed_commands_are_whole_shell_words() -> None:
    """They are copied; a broken quote would hang the reader's shell."""
    lines = curl.lines("http://127.0.0.1:1", "dev", "org", "a model/é", "job", WINDOW)

    for _, line in lines:
        assert shlex.split(line)
    assert "modelId=a+model%2F%C3%A9'" in lines[3][1]
    assert "--stack" not in lines[0][1]
    assert "--stack other" in curl.lines("http://x", "other", "org", "m", "job", WINDOW)[0][1]


@pytest.mark.parametrize(("values", "line"), [([], ""), ([0, 0], "▁▁"), ([1, 2, 4, 8], "▂▃▅█"), ([0.5], "█")])
def test_a_sparkline_is_scaled_to_its_peak(values: list[float], line: str) -> None:
    """The peak is what one looks for."""
    assert sparkline(values) == line


def test_a_seed_repeats_for_organisations_that_nobody_has_seen() -> None:
    """With those of an earlier run, the API would rightly show the traffic of both, and the proof would fail."""
    runs = [Traffic(events=300, seed=3).source().messages()[1] for _ in range(2)]
    first, second = ([message.event for message in run if message.event] for run in runs)

    assert {event.org_id for event in first}.isdisjoint(event.org_id for event in second)
    assert {event.client_id for event in first} == {event.client_id for event in second}


@pytest.mark.parametrize("option", ["--events=-5", "--events=0", "--events=many", "--rate=0", "--rate=-1"])
def test_a_number_that_publishes_nothing_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit) as refused:
        __main__.main([option])

    assert refused.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err
