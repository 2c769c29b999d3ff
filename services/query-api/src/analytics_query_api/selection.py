"""What a caller asks a series for: the query parameters, checked, all problems reported at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from analytics_core.access import OrgScope
from analytics_core.errors import FieldError, InvalidRequest
from analytics_query_api.limits import (
    MODEL_ID_CHARACTERS_MAX,
    MODEL_IDS_MAX,
    PAGE_POINTS_DEFAULT,
    PAGE_POINTS_MAX,
    RANGE_MAX,
    UNKNOWN_CHARACTERS_MAX,
    UNKNOWN_NAMED_MAX,
)
from analytics_query_api.paging import Position, decode_cursor
from analytics_query_api.periods import Granularity, parse_time

Value = TypeVar("Value")
PARAMETERS = ("start", "end", "granularity", "timezone", "modelId", "groupBy", "limit", "cursor")
UTC_NAME = "UTC"
GROUP_BY_MODEL = "model"


@dataclass(frozen=True, slots=True)
class Selection:
    """A valid question: the buckets that start in [start, end), of some models or of all, one page of them."""

    start: datetime
    end: datetime
    granularity: Granularity
    model_ids: tuple[str, ...]
    by_model: bool
    limit: int = PAGE_POINTS_DEFAULT
    after: Position | None = None
    fingerprint: str = ""
    """Which question this is, page and page size aside; cursors are bound to it."""


class _Reader:
    """Reads parameters one by one and remembers what is wrong with them."""

    def __init__(self, parameters: Sequence[tuple[str, str]], known: Sequence[str]) -> None:
        self._parameters = parameters
        self.errors: list[FieldError] = []
        # A misspelt filter that is ignored gives numbers of something else.
        for name in sorted({name for name, _ in parameters} - set(known))[:UNKNOWN_NAMED_MAX]:
            self.refuse(name[:UNKNOWN_CHARACTERS_MAX], f"unknown parameter; there are: {', '.join(known)}")

    def refuse(self, name: str, detail: str) -> None:
        self.errors.append(FieldError(name, detail))

    def all(self, name: str) -> list[str]:
        return [value for given, value in self._parameters if given == name]

    def one(self, name: str, parse: Callable[[str], Value], default: Value | None = None) -> Value | None:
        """The parsed value, the default where it is absent; None, and an error, where it is required or wrong."""
        values = self.all(name)
        if len(values) > 1:
            self.refuse(name, "given more than once")
        elif not values and default is None:
            self.refuse(name, "required")
        elif values:
            try:
                return parse(values[0])
            except ValueError as error:
                self.refuse(name, str(error))
        else:
            return default
        return None


def parse_selection(parameters: Sequence[tuple[str, str]], scope: OrgScope, report: str) -> Selection:
    """The selection in a query string, for one organisation and report.

    Raises `InvalidRequest` that names every parameter at fault.
    """
    reader = _Reader(parameters, PARAMETERS)
    start, end = reader.one("start", parse_time), reader.one("end", parse_time)
    granularity = reader.one("granularity", _granularity, Granularity.HOUR)
    reader.one("timezone", _timezone, UTC_NAME)
    by_model = reader.one("groupBy", _by_model, default=False)
    limit = reader.one("limit", _limit, PAGE_POINTS_DEFAULT)
    model_ids = _model_ids(reader)
    if start is not None and end is not None:
        _check_range(reader, start, end, granularity)
    if start is None or end is None or granularity is None or by_model is None or limit is None or reader.errors:
        raise _refusal(reader.errors)
    question = (report, scope.org_id, start, end, granularity, model_ids, by_model)
    fingerprint = msgspec.json.encode(question).decode()
    after = reader.one("cursor", lambda text: decode_cursor(text, fingerprint)) if reader.all("cursor") else None
    if reader.errors:
        raise _refusal(reader.errors)
    return Selection(start, end, granularity, model_ids, by_model, limit, after, fingerprint)


def parse_model_ids(parameters: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The models in a query string that may have no other parameter. Raises `InvalidRequest`."""
    reader = _Reader(parameters, ("modelId",))
    model_ids = _model_ids(reader)
    if reader.errors:
        raise _refusal(reader.errors)
    return model_ids


def _refusal(errors: Sequence[FieldError]) -> InvalidRequest:
    return InvalidRequest("; ".join(f"{error.field}: {error.detail}" for error in errors), errors=tuple(errors))


def _granularity(text: str) -> Granularity:
    try:
        return Granularity(text)
    except ValueError:
        raise ValueError(f"supported are {' and '.join(Granularity)}") from None


def _timezone(text: str) -> str:
    if text != UTC_NAME:
        raise ValueError("only UTC is supported")
    return text


def _by_model(text: str) -> bool:
    if text != GROUP_BY_MODEL:
        raise ValueError(f"only {GROUP_BY_MODEL} is supported")
    return True


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= PAGE_POINTS_MAX):
        raise ValueError(f"expected a whole number from 1 to {PAGE_POINTS_MAX}")
    return int(text)


def _model_ids(reader: _Reader) -> tuple[str, ...]:
    """Sorted and without repetitions, so that the same question has the same cursors however it is written."""
    given = reader.all("modelId")
    if len(given) > MODEL_IDS_MAX:
        reader.refuse("modelId", f"at most {MODEL_IDS_MAX} models")
    if any(not value or len(value) > MODEL_ID_CHARACTERS_MAX or "\0" in value for value in given):
        reader.refuse("modelId", f"expected 1 to {MODEL_ID_CHARACTERS_MAX} characters")
    return tuple(sorted(set(given)))


def _check_range(reader: _Reader, start: datetime, end: datetime, granularity: Granularity | None) -> None:
    if start >= end:
        reader.refuse("end", "must be after start; it is exclusive")
    elif granularity is not None and end - start > RANGE_MAX[granularity]:
        reader.refuse(
            "end",
            f"at most {RANGE_MAX[granularity].days} days after start for granularity={granularity}"
            + ("; ask for a shorter range or granularity=day" if granularity is Granularity.HOUR else ""),
        )
