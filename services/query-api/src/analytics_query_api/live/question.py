"""What a listener asks for: the parameters of the stream, checked."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from analytics_core.buckets import DAY, HOUR
from analytics_core.query.plan import NotCovered, plan_series
from analytics_core.query.question import Dimension, Question
from analytics_core.query.zones import TIME_MAX, TIME_MIN, UTC_ZONE, Granularity, floor, parse_zone
from analytics_query_api.periods import parse_time
from analytics_query_api.reading import ParameterReader
from analytics_query_api.selection import ORG_FILTERS, ORG_GROUPS, parse_groups, read_filters

WINDOW_DEFAULT = {Granularity.HOUR: timedelta(days=1), Granularity.DAY: timedelta(days=7)}
WINDOW_MAX = {Granularity.HOUR: timedelta(days=7), Granularity.DAY: timedelta(days=92)}
NO_GROUPS: tuple[Dimension, ...] = ()
PARAMETERS = ("start", "granularity", "timezone", *ORG_FILTERS, "groupBy", "lastEventId")


def live_question(parameters: Sequence[tuple[str, str]], now: datetime) -> Question:
    """The question in a query string; its end is always now. Raises `InvalidRequest` that names what is wrong."""
    reader = ParameterReader(parameters, PARAMETERS)
    granularity = reader.one("granularity", _granularity, Granularity.HOUR)
    zone = reader.one("timezone", parse_zone, UTC_ZONE)
    filters = read_filters(reader, ORG_FILTERS)
    group_by = reader.one("groupBy", lambda text: parse_groups(text, ORG_GROUPS), NO_GROUPS)
    reader.one("lastEventId", str, "")
    width = granularity or Granularity.HOUR
    # On a whole hour, so that those who ask for the default share what is read.
    start = reader.one("start", parse_time, floor(now, HOUR) - WINDOW_DEFAULT[width])
    if start and not max(TIME_MIN, now - WINDOW_MAX[width] - DAY) <= start <= now + DAY:
        ago = WINDOW_MAX[width].days
        reader.refuse("start", f"expected a time from {ago} days ago, with this granularity, to a day from now")
    reader.check()
    if start is None or granularity is None or zone is None or group_by is None:
        raise AssertionError("unreachable: what is missing was refused")
    question = Question(start, start, granularity, zone, filters, group_by)
    if not _is_rolled_up(up_to_now(question, now)):
        asked = ", ".join(sorted(question.dimensions()))
        reader.refuse(
            "groupBy" if group_by else "timezone",
            f"{asked} together, in {zone.key}, would be counted from single events again and again; a stream may have "
            "model alone, or in a zone with offsets of whole hours model, client, project, status and errorCode "
            "together, or actor, model, status and errorCode",
        )
        reader.check()
    return question


def up_to_now(question: Question, now: datetime) -> Question:
    """The buckets from the question's start to now, and as far into the future as events may be."""
    return replace(question, end=min(now + DAY + timedelta(hours=1), TIME_MAX))


def _is_rolled_up(question: Question) -> bool:
    try:
        return not any(part.source.is_events for part in plan_series(question, {}).parts)
    except NotCovered:
        return False


def _granularity(text: str) -> Granularity:
    if text not in {Granularity.HOUR, Granularity.DAY}:
        raise ValueError("expected hour or day")
    return Granularity(text)
