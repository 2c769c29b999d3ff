"""What one fold, one sample and one reconcile take on."""

import argparse
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.buckets import DAY, HOUR, SETTLE, is_finalized
from analytics_core.errors import SettingsError
from analytics_core.settings import load_settings
from analytics_core.testing.builders import NOON
from analytics_rollup.drift import _random_closed_hour
from analytics_rollup.fold import within_limit
from analytics_rollup.limits import EVENTS_MAX, SAMPLE_HOURS_BACK
from analytics_rollup.reconcile import Range
from analytics_rollup.reconcile_command import RECONCILE
from analytics_rollup.settings import Settings

MIDNIGHT = NOON.replace(hour=0)
stored_counts = st.lists(st.integers(0, EVENTS_MAX * 2), min_size=1, max_size=30)


@given(counts=stored_counts)
def test_a_fold_takes_the_oldest_batches_up_to_its_limit(counts: list[int]) -> None:
    """At least one, however large, or it would wait for ever."""
    batches = [{"batch_id": number, "stored_count": count} for number, count in enumerate(counts)]
    taken = within_limit(batches, EVENTS_MAX)
    events = sum(batch["stored_count"] for batch in taken)

    assert taken == batches[: len(taken)]
    assert len(taken) == 1 or events <= EVENTS_MAX
    assert len(taken) == len(batches) or events + counts[len(taken)] > EVENTS_MAX


@pytest.mark.parametrize("minutes", [0, 14, 15, 16, 59])
def test_a_sample_looks_at_closed_hours_alone(minutes: int) -> None:
    """An hour that is still expected to change proves nothing, and the last ones count most."""
    watermark = NOON + timedelta(minutes=minutes)
    for _ in range(200):
        hour = _random_closed_hour(watermark)

        assert is_finalized(hour + HOUR, watermark)
        assert hour >= watermark - SETTLE - HOUR * (SAMPLE_HOURS_BACK + 1)


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (NOON, NOON + HOUR, (MIDNIGHT, MIDNIGHT + DAY)),
        (MIDNIGHT, MIDNIGHT + DAY, (MIDNIGHT, MIDNIGHT + DAY)),
        (NOON, NOON + DAY, (MIDNIGHT, MIDNIGHT + 2 * DAY)),
        (MIDNIGHT, MIDNIGHT + HOUR, (MIDNIGHT, MIDNIGHT + DAY)),
    ],
)
def test_hours_are_part_of_whole_days(start: object, end: object, days: tuple[object, object]) -> None:
    """A day can only be compared as a whole."""
    widened = Range(start, end).in_days()  # type: ignore[arg-type]

    assert (widened.start, widened.end) == days


def test_a_day_is_a_utc_day() -> None:
    """Whatever the machine's zone."""
    parser = argparse.ArgumentParser()
    RECONCILE.add_arguments(parser)
    arguments = parser.parse_args(["--start", "2026-03-10", "--repair"])

    assert arguments.start == MIDNIGHT
    assert (arguments.end, arguments.org, arguments.repair) == (None, None, True)


@pytest.mark.parametrize(
    ("option", "accepted"),
    [("--start=10.03.2026", "a UTC day such as"), ("--end=2026-02-30", "a UTC day such as"), ("--org=7", "UUID")],
)
def test_a_wrong_option_is_refused(option: str, accepted: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than reconciling something else."""
    parser = argparse.ArgumentParser()
    RECONCILE.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([option])

    said = capsys.readouterr().err
    assert option.partition("=")[0] in said
    assert accepted in said


def test_workers_need_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that is too small would make workers and probes wait for each other."""
    assert problems(monkeypatch, AGGREGATION_WORKERS="6") == [
        "AGGREGATION_WORKERS: 6 need a DATABASE_POOL_SIZE of 16 or more"
    ]
    assert problems(monkeypatch, DATABASE_POOL_SIZE="7") == [
        "AGGREGATION_WORKERS: 2 need a DATABASE_POOL_SIZE of 8 or more"
    ]


def test_workers_without_connections_are_named_beside_wrong_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, not one for each start."""
    found = problems(monkeypatch, DATABASE_URL="mysql://x", RABBITMQ_URL="http://y", AGGREGATION_WORKERS="16")

    assert [problem.partition(":")[0] for problem in found] == ["DATABASE_URL", "RABBITMQ_URL", "AGGREGATION_WORKERS"]


def test_a_retention_that_is_too_short_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators do not read Python."""
    (problem,) = problems(monkeypatch, AUDIT_RETENTION="24h")

    assert problem == "AUDIT_RETENTION: Input should be greater than or equal to 30 days"


def problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in ({"DATABASE_URL": "postgres://u:p@h/d", "RABBITMQ_URL": "amqp://h"} | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings(Settings)
    for name in variables:
        monkeypatch.delenv(name)
    return error.value.problems
