"""What a caller asks for: the query parameters, checked, all problems reported at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from analytics_core.access import OrgScope, PlatformScope
from analytics_core.buckets import DAY, HOUR
from analytics_core.query.plan import NotCovered, family_for, plan_series, plan_total
from analytics_core.query.question import Dimension, Filters, Question
from analytics_core.query.statements import Position
from analytics_core.query.zones import TIME_MAX, TIME_MIN, UTC_ZONE, Granularity, bucket_bounds, parse_zone
from analytics_query_api.limits import (
    FILTER_VALUES_MAX,
    PAGE_ENTRIES_DEFAULT,
    PAGE_ENTRIES_MAX,
    PAGE_POINTS_DEFAULT,
    PAGE_POINTS_MAX,
    PLATFORM_RANGE_MAX,
    RANGE_MAX,
    SUMMARY_RANGE_MAX,
    VALUE_CHARACTERS_MAX,
)
from analytics_query_api.paging import decode_cursor
from analytics_query_api.periods import parse_time
from analytics_query_api.reading import ParameterReader, Parameters, exactly, whole_number

Scope = OrgScope | PlatformScope
STATUSES = ("success", "error", "timeout", "throttled")
FAILED = STATUSES[1:]
FILTERS = {
    "orgId": Dimension.ORG,
    "modelId": Dimension.MODEL,
    "clientId": Dimension.CLIENT,
    "actorId": Dimension.ACTOR,
    "status": Dimension.STATUS,
    "errorCode": Dimension.ERROR_CODE,
    "project": Dimension.PROJECT,
}
"""The parameters that filter; their values' characters are as many as those of events."""
ORG_FILTERS = tuple(name for name in FILTERS if name != "orgId")
ORG_GROUPS = tuple(item for item in Dimension if item is not Dimension.ORG)
SERIES = ("start", "end", "granularity", "timezone", *ORG_FILTERS, "groupBy", "fill", "compare", "limit", "cursor")
PLATFORM_SERIES = (*SERIES[:4], *FILTERS, *SERIES[-5:])
ERRORS = ("start", "end", *ORG_FILTERS, "groupBy", "limit", "cursor")
VALUES = ("start", "end", "limit", "cursor")
_RANGES_WITH_BUCKET = {Granularity.HOUR: HOUR, Granularity.DAY: 2 * DAY, Granularity.MONTH: 32 * DAY}
"""In a range as long as this a bucket starts, whatever the clocks do: no need to look."""
_NO_GROUPS: tuple[Dimension, ...] = ()
ERRORS_GROUPED: tuple[Dimension, ...] = (Dimension.CLIENT, Dimension.ERROR_CODE)


@dataclass(frozen=True, slots=True)
class Selection:
    """A valid question, and which part of its answer is wanted."""

    question: Question
    limit: int
    after: Position | None = None
    fill: bool = False
    compare: bool = False
    fingerprint: str = ""
    """Which question this is, page and page size aside; cursors are bound to it."""


def parse_series(parameters: Parameters, scope: Scope, report: str) -> Selection:
    """A series of buckets. Raises `InvalidRequest` that names every parameter at fault."""
    one_org = isinstance(scope, OrgScope)
    reader = ParameterReader(parameters, SERIES if one_org else PLATFORM_SERIES)
    start, end = reader.one("start", parse_time), reader.one("end", parse_time)
    granularity = reader.one("granularity", _granularity, Granularity.HOUR)
    zone = reader.one("timezone", parse_zone, UTC_ZONE)
    filters = read_filters(reader, ORG_FILTERS if one_org else tuple(FILTERS))
    allowed = ORG_GROUPS if one_org else tuple(Dimension)
    group_by = reader.one("groupBy", lambda text: parse_groups(text, allowed), _NO_GROUPS)
    limit = reader.one("limit", whole_number(PAGE_POINTS_MAX), PAGE_POINTS_DEFAULT)
    fill = reader.one("fill", exactly("zero"), default=False)
    compare = reader.one("compare", exactly("previous"), default=False)
    if start and end:
        limits = RANGE_MAX if one_org else PLATFORM_RANGE_MAX
        # Of an unknown granularity, only what none allows is wrong.
        width = granularity or Granularity.MONTH
        wider = [item for item in Granularity if limits[item] > limits[width]]
        advice = "; ask for a shorter range or granularity=" + " or ".join(wider) if wider else ""
        _check_range(reader, start, end, limits[width], f" for granularity={width}{advice}")
    reader.check()
    if start is None or end is None or granularity is None or zone is None or group_by is None or limit is None:
        raise AssertionError("unreachable: what is missing was refused")
    question = Question(start, end, granularity, zone, filters, group_by)
    _check_buckets(reader, question)
    _check_covered(reader, question)
    if compare:
        _check_covered(reader, question.grouped_by().previous())
    fingerprint = _fingerprint(report, scope, question, bool(fill))
    after = _after(reader, fingerprint, question, in_series=True)
    return Selection(question, limit, after, bool(fill), bool(compare), fingerprint)


def parse_errors(parameters: Parameters, scope: OrgScope, report: str) -> Selection:
    """An attribution of failed calls over a range. Raises `InvalidRequest`."""
    reader = ParameterReader(parameters, ERRORS)
    group_by = reader.one("groupBy", lambda text: parse_groups(text, ORG_GROUPS), ERRORS_GROUPED)
    given = dict(read_filters(reader, ORG_FILTERS))
    failed = tuple(sorted(set(given.get(Dimension.STATUS, FAILED)) & set(FAILED)))
    return _parse_summary(reader, scope, report, tuple((given | {Dimension.STATUS: failed}).items()), group_by or ())


def parse_values(parameters: Parameters, scope: OrgScope, report: str, dimension: Dimension) -> Selection:
    """The values of a dimension in a range. Raises `InvalidRequest`."""
    return _parse_summary(ParameterReader(parameters, VALUES), scope, report, (), (dimension,))


def parse_model_ids(parameters: Parameters) -> tuple[str, ...]:
    """The models in a query string that may have no other parameter. Raises `InvalidRequest`."""
    reader = ParameterReader(parameters, ("modelId",))
    model_ids = _values(reader, "modelId")
    reader.check()
    return model_ids


def _parse_summary(
    reader: ParameterReader, scope: OrgScope, report: str, filters: Filters, group_by: tuple[Dimension, ...]
) -> Selection:
    """Hours of UTC that start in the range, as one."""
    start, end = reader.one("start", parse_time), reader.one("end", parse_time)
    limit = reader.one("limit", whole_number(PAGE_ENTRIES_MAX), PAGE_ENTRIES_DEFAULT)
    if start and end:
        _check_range(reader, start, end, SUMMARY_RANGE_MAX, "")
    reader.check()
    if start is None or end is None or limit is None:
        raise AssertionError("unreachable: what is missing was refused")
    question = Question(start, end, Granularity.HOUR, UTC_ZONE, filters, group_by)
    _check_buckets(reader, question)
    _check_covered(reader, question)
    fingerprint = _fingerprint(report, scope, question, filled=False)
    return Selection(question, limit, _after(reader, fingerprint, question, in_series=False), fingerprint=fingerprint)


def _fingerprint(report: str, scope: Scope, question: Question, filled: bool) -> str:
    org_id = scope.org_id if isinstance(scope, OrgScope) else None
    asked = (question.start, question.end, question.granularity, question.zone.key, question.filters, question.group_by)
    return msgspec.json.encode((report, org_id, *asked, filled)).decode()


def _after(reader: ParameterReader, fingerprint: str, question: Question, *, in_series: bool) -> Position | None:
    def parse(text: str) -> Position:
        position = decode_cursor(text, fingerprint)
        # A forged one may say anything.
        if (
            len(position.groups) != len(question.group_by)
            or (position.bucket is None) is in_series
            or (position.bucket is not None and not TIME_MIN <= position.bucket <= TIME_MAX)
            or any("\0" in value for value in position.groups)
            or not _names_organisation(question, position)
            or not 0 <= (position.failed or 0) < 2**63
        ):
            raise ValueError("not a `nextCursor` of this very query")
        return position

    after = reader.one("cursor", parse) if reader.all("cursor") else None
    reader.check()
    return after


def _names_organisation(question: Question, position: Position) -> bool:
    """Whether what stands for an organisation among the groups is the id of one."""
    try:
        pairs = zip(question.group_by, position.groups, strict=True)
        return all(str(UUID(value)) == value for item, value in pairs if item is Dimension.ORG)
    except ValueError:
        return False


def _granularity(text: str) -> Granularity:
    try:
        return Granularity(text)
    except ValueError:
        raise ValueError(f"supported are {', '.join(Granularity)}") from None


def parse_groups(text: str, allowed: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """In the order of the dimensions, however it is written: that of the points."""
    given = text.split(",")
    if len(set(given)) < len(given) or not set(given) <= {item.value for item in allowed}:
        raise ValueError(f"supported are {', '.join(allowed)}, each at most once, separated by commas")
    return tuple(item for item in Dimension if item.value in given)


def read_filters(reader: ParameterReader, names: Sequence[str]) -> Filters:
    """The filters with these names; what is wrong with them is the reader's to report."""
    found = ((FILTERS[name], _values(reader, name)) for name in names)
    return tuple((dimension, values) for dimension, values in found if values)


def _values(reader: ParameterReader, name: str) -> tuple[str, ...]:
    """Sorted and without repetitions, so that the same question has the same cursors however it is written."""
    given = reader.all(name)
    if len(given) > FILTER_VALUES_MAX:
        reader.refuse(name, f"at most {FILTER_VALUES_MAX} values")
    if name == "status" and not set(given) <= set(STATUSES):
        reader.refuse(name, f"supported are {', '.join(STATUSES)}")
    elif name == "orgId":
        return _org_ids(reader, given)
    elif any(not value or len(value) > VALUE_CHARACTERS_MAX or "\0" in value for value in given):
        reader.refuse(name, f"expected 1 to {VALUE_CHARACTERS_MAX} characters")
    return tuple(sorted(set(given)))


def _org_ids(reader: ParameterReader, given: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(sorted({str(UUID(value)) for value in given}))
    except ValueError:
        reader.refuse("orgId", "expected a UUID")
        return ()


def _check_range(reader: ParameterReader, start: datetime, end: datetime, most: timedelta, why: str) -> None:
    if start >= end:
        reader.refuse("end", "must be after start; it is exclusive")
    elif end - start > most:
        reader.refuse("end", f"at most {most.days} days after start{why}")


def _check_buckets(reader: ParameterReader, question: Question) -> None:
    """Refuse a range in which no bucket starts: zeros would pass for an answer about the calls in it."""
    start, end, granularity, zone = question.start, question.end, question.granularity, question.zone
    if end - start < _RANGES_WITH_BUCKET[granularity] and not bucket_bounds(start, end, granularity, zone):
        finer = "" if granularity is Granularity.HOUR else ", or ask for granularity=hour"
        reader.refuse(
            "end",
            f"no {granularity} of {zone.key} starts in the range, and only whole ones are counted: start earlier or "
            f"end later{finer}",
        )
    reader.check()


def _check_covered(reader: ParameterReader, question: Question) -> None:
    """Refuse what no rollup has and what is too much to count from single events, before the database is asked."""
    if not family_for(question).counts_events:
        return
    try:
        plan_series(question, {})
        plan_total(question, {})
    except NotCovered as error:
        asked = ", ".join(sorted(question.dimensions()))
        reader.refuse(
            "groupBy" if question.group_by else "end",
            f"{asked} together, in {question.zone.key}, {error}; any range has model, client, project, status and "
            "errorCode together, or actor, model, status and errorCode, in a zone with offsets of whole hours",
        )
    reader.check()
