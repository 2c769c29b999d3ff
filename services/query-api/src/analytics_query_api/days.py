"""Usage by the hour, day by day: a day that has not changed since somebody asked for it is not read again.

A dashboard asks for the same week every few seconds, and of that week only today has changed. Whether a day has, its
rows in the daily rollup say, which never stay the same when an hour of the day changes: the fold adds to both, and a
repair revises the day of each hour that it replaces.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec

from analytics_core.access import OrgScope
from analytics_core.buckets import DAY, HOUR
from analytics_core.database import ReadSession
from analytics_core.http.money import JSON
from analytics_core.query.plan import Part, Plan, plan_series
from analytics_core.query.question import Question
from analytics_core.query.zones import UTC_ZONE, Granularity, ceil, floor
from analytics_query_api.metrics import DAYS_HELD, DAYS_READ
from analytics_query_api.points import first_open, usage_points
from analytics_query_api.queries.freshness import read_state
from analytics_query_api.queries.page import Page
from analytics_query_api.queries.series import USAGE, USAGE_POINT, Answer, added_up
from analytics_query_api.queries.source import Source
from analytics_query_api.selection import Selection

DAY_BYTES = 2_000
"""A day without points: its key, the question in it, and its sums."""


@dataclass(frozen=True, slots=True)
class DayKey:
    """Everything that the text of a day's points depends on beside its rows: finalized are those before `open_from`."""

    org_id: UUID
    question: Question
    open_from: datetime


@dataclass(frozen=True, slots=True)
class Day:
    """Points as they stand in an answer, between its brackets; what they add up to; what the day's rows hash to."""

    version: int
    points: int
    json: bytes
    sums: Mapping[str, int]
    read_at: float


class HeldDays:
    """Days that this process has read, those asked for last; they take `bytes_max` at most.

    None is held for longer than `seconds_max`, as a bound on whatever nobody thought of.
    """

    def __init__(self, bytes_max: int, seconds_max: float) -> None:
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._bytes = 0
        self._days: OrderedDict[DayKey, Day] = OrderedDict()

    def __len__(self) -> int:
        return len(self._days)

    def find(self, key: DayKey, version: int) -> Day | None:
        """The day, if it is held as it is now."""
        day = self._days.get(key)
        if day is None or day.version != version or monotonic() > day.read_at + self._seconds_max:
            return None
        self._days.move_to_end(key)
        return day

    def hold(self, key: DayKey, day: Day) -> None:
        """Keep the day in place of what there was of it."""
        before = self._days.pop(key, None)
        self._bytes += _bytes(key, day) - (_bytes(key, before) if before else 0)
        self._days[key] = day
        while self._bytes > self._bytes_max:
            self._bytes -= _bytes(*self._days.popitem(last=False))


def _bytes(key: DayKey, day: Day) -> int:
    """What is held for a day, at most: days without points take room, too, and a question's filters may be long."""
    filters = sum(len(value) for _, values in key.question.filters for value in values)
    return len(day.json) + DAY_BYTES + 4 * filters


async def read_by_days(
    session: ReadSession, scope: OrgScope, selection: Selection, now: datetime, held: HeldDays
) -> Answer[msgspec.Raw] | None:
    """The answer to a question about usage; None where it does not fall into days of one page: read it as a whole."""
    question = selection.question
    if question.granularity is not Granularity.HOUR or selection.after or selection.fill:
        return None
    plan = plan_series(question, {})
    if not _falls_into_days(question, plan):
        return None
    state = await read_state(session, scope, now)
    source = Source(session, scope, state)
    source.check(plan)
    (part,) = plan.parts
    days = replace(
        question, start=floor(part.start, DAY), end=ceil(part.end, DAY), granularity=Granularity.DAY, zone=UTC_ZONE
    )
    known = {row["day"]: row for row in await source.days(days, USAGE_POINT)}
    freshness = state.freshness(plan)
    keys = list(_keys(scope, question, part, freshness.watermark))
    if sum(_points_max(key, known) for key in keys) > selection.limit:
        return None
    found = await _found(source, {key: _version(key, known) for key in keys}, freshness.watermark, held)
    if sum(day.points for day in found) > selection.limit:
        return None
    previous = None
    if selection.compare:
        _, previous = await source.total(question.grouped_by().previous(), USAGE, "compare")
    return Answer(
        msgspec.Raw(b"[%s]" % b",".join(day.json for day in found if day.points)),
        {name: sum(day.sums[name] for day in found) for name in USAGE},
        previous,
        freshness,
    )


def _falls_into_days(question: Question, plan: Plan) -> bool:
    """Whether its points are rows of one table as they are, by the hour and of more than a day, beside a daily one."""
    if not plan.is_plain(question.group_by) or not plan.family.daily_complete:
        return False
    (part,) = plan.parts
    return part.source.width == HOUR and part.end - part.start > DAY


def _keys(scope: OrgScope, question: Question, part: Part, watermark: datetime | None) -> Iterator[DayKey]:
    open_from = first_open(question, watermark)
    start = part.start
    while start < part.end:
        end = min(part.end, floor(start, DAY) + DAY)
        yield DayKey(scope.org_id, replace(question, start=start, end=end), min(max(open_from, start), end))
        start = end


def _version(key: DayKey, known: Mapping[datetime, Any]) -> int:
    """Nothing hashes to 0, as an empty set of points does."""
    row = known.get(floor(key.question.start, DAY))
    return row["version"] if row else 0


def _points_max(key: DayKey, known: Mapping[datetime, Any]) -> int:
    """A group that has calls in the day may have some in each hour."""
    row = known.get(floor(key.question.start, DAY))
    return row["points"] * ((key.question.end - key.question.start) // HOUR) if row else 0


async def _found(
    source: Source, versions: Mapping[DayKey, int], watermark: datetime | None, held: HeldDays
) -> list[Day]:
    """The days in their order, held ones and read ones, which are held from now on."""
    days = {key: held.find(key, version) for key, version in versions.items()}
    missing = [key for key, day in days.items() if day is None]
    DAYS_HELD.inc(len(days) - len(missing))
    DAYS_READ.inc(len(missing))
    async with aclosing(_pages(source, missing)) as pages:
        async for key, page in pages:
            days[key] = day = _day(key, page, versions[key], watermark)
            held.hold(key, day)
    return [day for day in days.values() if day is not None]


async def _pages(source: Source, keys: Sequence[DayKey]) -> AsyncGenerator[tuple[DayKey, Page], None]:
    """The points of the days one after the other; while the caller works on some, the database finds the next."""
    ahead: asyncio.Task[tuple[Plan, Page]] | None = None
    try:
        for key, following in zip_longest(keys, keys[1:]):
            _, page = await (ahead or _ask(source, key))
            ahead = None
            if following:
                ahead = _ask(source, following)
                # So that the question is on its way before the caller's work holds the loop.
                await asyncio.sleep(0)
            yield key, page
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)


def _ask(source: Source, key: DayKey) -> asyncio.Task[tuple[Plan, Page]]:
    return asyncio.create_task(source.page(key.question, USAGE_POINT, None, None))


def _day(key: DayKey, page: Page, version: int, watermark: datetime | None) -> Day:
    text: bytes = JSON.encode(usage_points(page, key.question, watermark))
    sums: Any = added_up(page, USAGE)
    return Day(version, len(page), text[1:-1], sums, monotonic())
