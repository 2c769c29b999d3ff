"""Plans: every quarter of an hour of the range is read exactly once, from the coarsest table that has it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.buckets import DAY, HOUR
from analytics_core.families import QUARTER
from analytics_core.query.plan import Cells, NotCovered, Part, Plan, plan_series, plan_total
from analytics_core.query.question import Dimension, Question
from analytics_core.query.zones import UTC_ZONE, Granularity

ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"]
START = datetime(2026, 1, 1, tzinfo=UTC)


def question(zone: str = "UTC", granularity: str = "hour", days: int = 7, *group_by: Dimension) -> Question:
    return Question(START, START + timedelta(days=days), Granularity(granularity), ZoneInfo(zone), group_by=group_by)


def tables(plan: Plan) -> list[tuple[str, str]]:
    return [(part.source.table, part.cells.value) for part in plan.parts]


def quarters(part: Part) -> list[datetime]:
    """The quarters of an hour whose calls a part reads."""
    if part.source.is_events:
        spans = list(zip(part.listed, part.listed_ends, strict=True))
    else:
        width = part.source.width
        cells = [part.start + number * width for number in range((part.end - part.start) // width)]
        if part.cells is not Cells.ALL:
            cells = [cell for cell in cells if (cell in part.listed) is (part.cells is Cells.LISTED)]
        spans = [(cell, cell + width) for cell in cells]
    return [start + n * QUARTER for start, end in spans for n in range((end - start) // QUARTER)]


@settings(deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    granularity=st.sampled_from(Granularity),
    start=st.integers(0, 96 * 400),
    length=st.integers(1, 96 * 70),
    group_by=st.sets(st.sampled_from([Dimension.MODEL, Dimension.CLIENT]), max_size=2),
    through=st.one_of(st.none(), st.integers(0, 500)),
    total=st.booleans(),
)
def test_every_quarter_is_read_once(
    zone: str,
    granularity: Granularity,
    start: int,
    length: int,
    group_by: set[Dimension],
    through: int | None,
    total: bool,
) -> None:
    first = START + start * QUARTER
    asked = Question(first, first + length * QUARTER, granularity, ZoneInfo(zone), group_by=tuple(sorted(group_by)))
    progress = {"detail": None if through is None else START + timedelta(days=through)}
    bounds = asked.bounds()
    try:
        plan = plan_total(asked, progress) if total else plan_series(asked, progress)
    except NotCovered:
        assert Dimension.CLIENT in group_by
        assert zone in ZONES[2:]
        return

    read = Counter(quarter for part in plan.parts for quarter in quarters(part))

    wanted = (bounds[-1] - bounds[0]) // QUARTER if bounds else 0
    assert (len(read), set(read.values())) == (wanted, {1} if wanted else set())
    assert not bounds or (min(read), max(read)) == (bounds[0], bounds[-1] - QUARTER)
    daily = [part for part in plan.parts if part.source.width == DAY and part.source.table != "usage_daily"]
    assert all(progress["detail"] is not None and part.end <= progress["detail"] for part in daily)
    if not total and plan.bounds is not None:
        cuts = set(plan.bounds)
        cells = [part for part in plan.parts if not part.source.is_events and part.source.width > QUARTER]
        for part in cells:
            starts = {
                quarter
                for quarter in quarters(part)
                if quarter == part.start + (quarter - part.start) // part.source.width * part.source.width
            }
            assert not {cut for cut in cuts & set(quarters(part)) if cut not in starts}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (question("UTC", "hour"), [("usage_hourly", "all")]),
        (question("Europe/Berlin", "hour"), [("usage_hourly", "all")]),
        (question("UTC", "day"), [("usage_daily", "all")]),
        (question("UTC", "month", 100), [("usage_daily", "all")]),
        (question("Europe/Berlin", "day"), [("usage_hourly", "all")]),
        (question("Europe/Berlin", "month", 100), [("usage_daily", "others"), ("usage_hourly", "listed")]),
        (question("Asia/Kolkata", "hour"), [("usage_quarter_hourly", "all")]),
        (question("Asia/Kolkata", "day"), [("usage_hourly", "others"), ("usage_quarter_hourly", "listed")]),
        (question("UTC", "hour", 7, Dimension.CLIENT), [("usage_detail_hourly", "all")]),
        (question("UTC", "hour", 7, Dimension.ACTOR), [("usage_actor_hourly", "all")]),
        (question("UTC", "hour", 7, Dimension.ACTOR, Dimension.PROJECT), [("visible_events", "listed")]),
        (
            question("Asia/Kolkata", "day", 30, Dimension.CLIENT),
            [("usage_detail_hourly", "others"), ("visible_events", "listed")],
        ),
    ],
)  # fmt: skip
def test_the_coarsest_tables_of_the_smallest_family_are_read(asked: Question, expected: list[tuple[str, str]]) -> None:
    assert tables(plan_series(asked, {})) == expected


def test_a_daily_table_is_read_as_far_as_it_goes() -> None:
    through = START + timedelta(days=5)

    plan = plan_series(question("UTC", "day", 7, Dimension.CLIENT), {"detail": through})

    assert [(part.source.width, part.start, part.end) for part in plan.parts] == [
        (DAY, START, through),
        (HOUR, through, START + timedelta(days=7)),
    ]


def test_a_total_reads_days_wherever_it_can() -> None:
    asked = question("Asia/Kolkata", "hour", 7)

    assert tables(plan_total(asked, {})) == [
        ("usage_daily", "all"),
        ("usage_hourly", "all"),
        ("usage_quarter_hourly", "listed"),
    ]


def test_events_are_counted_over_a_week_at_most() -> None:
    both = (Dimension.ACTOR, Dimension.CLIENT)

    assert plan_series(question("UTC", "day", 7, *both), {}).parts
    with pytest.raises(NotCovered, match="at most 7 days"):
        plan_series(question("UTC", "day", 8, *both), {})


def test_rows_are_points_only_where_nothing_is_added_up() -> None:
    assert plan_series(question("UTC", "day", 7), {}).is_plain((Dimension.MODEL,))
    assert not plan_series(question("UTC", "day", 7), {}).is_plain(())
    assert not plan_series(question("Asia/Kolkata", "hour", 7), {}).is_plain((Dimension.MODEL,))


def test_the_previous_period_has_as_many_buckets_and_ends_where_this_one_begins() -> None:
    march = Question(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), Granularity.MONTH, UTC_ZONE)
    monday = datetime(2026, 3, 28, 23, tzinfo=UTC)
    week = Question(monday, datetime(2026, 4, 4, 22, tzinfo=UTC), Granularity.DAY, ZoneInfo("Europe/Berlin"))

    assert (march.previous().start, march.previous().end) == (datetime(2026, 2, 1, tzinfo=UTC), march.start)
    assert (week.previous().start, week.previous().end) == (datetime(2026, 3, 21, 23, tzinfo=UTC), week.start)
