"""What a listener asks for: the parameters of the stream, checked."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from analytics_core.buckets import DAY, HOUR
from analytics_core.errors import FieldError, InvalidRequest
from analytics_core.query.question import Dimension, Question, only
from analytics_core.query.zones import TIME_MIN, UTC_ZONE, Granularity, floor, parse_zone
from analytics_query_api.limits import FILTER_VALUES_MAX, VALUE_CHARACTERS_MAX
from analytics_query_api.periods import parse_time

Value = TypeVar("Value")
WINDOW_DEFAULT = {Granularity.HOUR: timedelta(days=1), Granularity.DAY: timedelta(days=7)}
WINDOW_MAX = {Granularity.HOUR: timedelta(days=7), Granularity.DAY: timedelta(days=92)}
NO_GROUPS: tuple[Dimension, ...] = ()
_SINGLE = ("start", "granularity", "timezone", "groupBy", "lastEventId")
PARAMETERS = (*_SINGLE, "modelId")


def live_question(parameters: Sequence[tuple[str, str]], now: datetime) -> Question:
    """The question in a query string; its end is always now. Raises `InvalidRequest` that names what is wrong."""
    errors: list[FieldError] = []
    given = {name: [value for found, value in parameters if found == name] for name, _ in parameters}
    errors += [
        FieldError(name[:100], f"unknown parameter; there are: {', '.join(PARAMETERS)}")
        for name in sorted(set(given) - set(PARAMETERS))[:10]
    ]
    errors += [FieldError(name, "given more than once") for name in _SINGLE if len(given.get(name, [])) > 1]

    def one(name: str, parse: Callable[[str], Value], default: Value) -> Value:
        try:
            return parse(given[name][0]) if name in given else default
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
            return default

    granularity = one("granularity", _granularity, Granularity.HOUR)
    zone = one("timezone", parse_zone, UTC_ZONE)
    group_by = one("groupBy", _group_by, NO_GROUPS)
    model_ids = tuple(sorted(set(given.get("modelId", []))))
    if len(model_ids) > FILTER_VALUES_MAX or not all(0 < len(each) <= VALUE_CHARACTERS_MAX for each in model_ids):
        errors.append(
            FieldError("modelId", f"at most {FILTER_VALUES_MAX} models of 1 to {VALUE_CHARACTERS_MAX} characters")
        )
    if any("\0" in each for each in model_ids):
        errors.append(FieldError("modelId", "has a NUL character"))
    # On a whole hour, so that those who ask for the default share what is read.
    start = one("start", parse_time, floor(now, HOUR) - WINDOW_DEFAULT[granularity])
    if not max(TIME_MIN, now - WINDOW_MAX[granularity] - DAY) <= start <= now + DAY:
        errors.append(FieldError("start", f"at most {WINDOW_MAX[granularity].days} days ago with this granularity"))
    if errors:
        raise InvalidRequest("; ".join(f"{error.field}: {error.detail}" for error in errors), errors=tuple(errors))
    return Question(start, start, granularity, zone, only(Dimension.MODEL, model_ids), group_by)


def _granularity(text: str) -> Granularity:
    if text not in {Granularity.HOUR, Granularity.DAY}:
        raise ValueError("expected hour or day")
    return Granularity(text)


def _group_by(text: str) -> tuple[Dimension, ...]:
    if text != Dimension.MODEL:
        raise ValueError("expected model")
    return (Dimension.MODEL,)
