"""What callers may ask for, and the checks that the types do not make. Field names are the contract."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal, TypeVar, get_args

import msgspec

from analytics_core.buckets import DAY
from analytics_core.errors import FieldError, InvalidRequest
from analytics_core.events import Status
from analytics_core.query.plan import NotCovered, plan_series
from analytics_core.query.zones import TIME_MAX, TIME_MIN, parse_zone
from analytics_core.units import format_duration
from analytics_export.filters import Filters, Values
from analytics_export.formats.catalogue import Format
from analytics_export.jobs import JobRequest
from analytics_export.limits import (
    MONTHLY_DAYS_MAX,
    MONTHLY_MONTHS_MAX,
    SUBJECT_CHARACTERS_MAX,
    WEBHOOK_URL_CHARACTERS_MAX,
)
from analytics_export.questions import UTC_NAME, in_file_order, is_covered_by_rollups, question_of
from analytics_export.ranges import Granularity
from analytics_export.settings import Settings
from analytics_export.templates import GROUPABLE, TEMPLATES, Template, TemplateName
from analytics_export.webhooks import url_problem

_Time = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339 with an offset.")]
Named = TypeVar("Named", bound=StrEnum)

# The fields of a body that take one of some names. Checked here and not by types, so that a refusal says what there is.
NAMES: dict[str, list[str]] = {
    "template": list(TemplateName),
    "granularity": list(Granularity),
    "format": list(Format),
}


class Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """camelCase, and nothing that is not asked for."""


class TimeRange(Body, frozen=True, kw_only=True):
    """The buckets that start within [start, end) in the time zone, or the events that occurred in it."""

    start: _Time
    end: _Time


class Delivery(Body, frozen=True, kw_only=True):
    """Where the file goes: the service's own bucket, which may be named, below one of its prefixes."""

    type: Literal["s3"] = "s3"
    bucket: str | None = None
    prefix: str | None = None


class Webhook(Body, frozen=True, kw_only=True):
    """A URL that is called, signed, when the export has ended; see contracts/exports/webhooks.md."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=WEBHOOK_URL_CHARACTERS_MAX)]


class ExportQuestion(Body, frozen=True, kw_only=True):
    """What an export is about, whatever the period. No models means all models.

    `GET /exports/templates` lists what each template takes; its own `granularity` and `groupBy` hold when left out.
    """

    template: str = TemplateName.FULL
    granularity: str | None = None
    format: str = Format.CSV
    timezone: Annotated[str, msgspec.Meta(max_length=64, description="IANA name, such as Europe/Berlin.")] = "UTC"
    group_by: Annotated[list[str], msgspec.Meta(max_length=10)] | None = None
    models: Values = []
    filters: Filters = msgspec.field(default_factory=Filters)


class CreateExport(ExportQuestion, frozen=True, kw_only=True):
    """An export to be made: a question about a period."""

    time_range: TimeRange
    delivery: Delivery | None = None
    webhook: Webhook | None = None


def export_of(question: ExportQuestion, time_range: TimeRange) -> CreateExport:
    """The question about one period."""
    return CreateExport(
        time_range=time_range, **{name: getattr(question, name) for name in ExportQuestion.__struct_fields__}
    )


class _Checks:
    """Collects what is wrong, so that all of it is named at once."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def refuse(self, field: str, detail: str) -> None:
        self.errors.append(FieldError(field, detail))

    def known(self, field: str, given: str, names: Collection[str]) -> bool:
        """Whether there is such a name; refuses it, naming those that there are, when not."""
        if given in names:
            return True
        self.refuse(field, f"there is no {given[:100]!r}; there are: {', '.join(names)}")
        return False

    def raise_errors(self) -> None:
        if self.errors:
            detail = "; ".join(f"{error.field}: {error.detail}" for error in self.errors)
            raise InvalidRequest(detail, errors=tuple(self.errors))

    def one_of(self, field: str, given: str, kind: type[Named], default: Named) -> Named:
        return kind(given) if self.known(field, given, list(kind)) else default


def job_request(body: CreateExport, settings: Settings, subject: str) -> JobRequest:
    """The job that a body asks for. Raises `InvalidRequest` with every field that is wrong."""
    checks = _Checks()
    template = TEMPLATES[checks.one_of("template", body.template, TemplateName, TemplateName.FULL)]
    granularity = _granularity(body, template, checks)
    file_format = checks.one_of("format", body.format, Format, Format.CSV)
    group_by = _group_by(body, template, granularity, checks)
    _check_timezone(body.timezone, checks)
    _check_order(body.time_range, checks)
    filters = _filters(body, checks)
    _check_delivery(body.delivery, settings, checks)
    _check_webhook(body.webhook, settings, checks)
    checks.raise_errors()
    request = JobRequest(
        template=template.name,
        format=file_format,
        granularity=granularity,
        start=body.time_range.start.astimezone(UTC),
        end=body.time_range.end.astimezone(UTC),
        timezone=body.timezone,
        group_by=group_by,
        filters=filters,
        requested_by=bounded_subject(subject),
    )
    _check_length(request, settings, checks)
    checks.raise_errors()
    return request


def bounded_subject(subject: str) -> str:
    """Who asks, as it can be stored."""
    return subject.replace("\0", "\N{REPLACEMENT CHARACTER}")[:SUBJECT_CHARACTERS_MAX]


def _granularity(body: CreateExport, template: Template, checks: _Checks) -> Granularity:
    default = template.granularities[0]
    if body.granularity is None:
        return default
    asked = checks.one_of("granularity", body.granularity, Granularity, default)
    if asked not in template.granularities:
        accepted = ", ".join(template.granularities)
        checks.refuse("granularity", f"the template {template.name} has no {asked} rows; there are: {accepted}")
    return asked


def _check_timezone(name: str, checks: _Checks) -> None:
    try:
        parse_zone(name)
    except ValueError as error:
        checks.refuse("timezone", f"there is no {name!r}; {error}")


def _group_by(body: CreateExport, template: Template, granularity: Granularity, checks: _Checks) -> tuple[str, ...]:
    if granularity is Granularity.EVENTS:
        if body.group_by:
            checks.refuse("groupBy", "each event is a row of its own, so they are not grouped")
        return ()
    if template.group_by is not None:
        if body.group_by is not None and set(body.group_by) != set(template.group_by):
            checks.refuse("groupBy", f"the template {template.name} has its own: {', '.join(template.group_by)}")
        return template.group_by
    if body.group_by is None:
        return ("model",)
    for index, name in enumerate(body.group_by):
        checks.known(f"groupBy[{index}]", name, GROUPABLE)
    return in_file_order(body.group_by)


def _check_order(time_range: TimeRange, checks: _Checks) -> None:
    if time_range.end <= time_range.start:
        checks.refuse("timeRange.end", "must be after timeRange.start")
    elif not TIME_MIN <= time_range.start < time_range.end <= TIME_MAX:
        checks.refuse("timeRange", f"must lie between {TIME_MIN:%Y-%m-%d} and {TIME_MAX:%Y-%m-%d}")


def _check_length(request: JobRequest, settings: Settings, checks: _Checks) -> None:
    # As the zone's clocks show it: an October of 31 days is not an hour too long where summer time ends in it.
    zone = parse_zone(request.timezone)
    start, end = (moment.astimezone(zone).replace(tzinfo=None) for moment in (request.start, request.end))
    granularity, duration = request.granularity, end - start
    if granularity is not Granularity.MONTHLY and duration > settings.export_range_max:
        rows = "events" if granularity is Granularity.EVENTS else f"{granularity} rows"
        spans, limit = _spelled(duration), _spelled(settings.export_range_max)
        checks.refuse("timeRange", f"spans {spans}; {rows} are written for at most {limit}")
    elif granularity is Granularity.MONTHLY and duration > MONTHLY_DAYS_MAX:
        checks.refuse(
            "timeRange", f"spans {_spelled(duration)}; a monthly export has at most {MONTHLY_MONTHS_MAX} months"
        )
    elif granularity is not Granularity.EVENTS:
        _check_buckets(request, checks)


def _check_buckets(request: JobRequest, checks: _Checks) -> None:
    question = question_of(request)
    if not (bounds := question.bounds()):
        zone = "" if request.timezone == UTC_NAME else f" of {request.timezone}"
        checks.refuse("timeRange", f"no {question.granularity}{zone} starts within it, so the file would be empty")
    elif request.granularity is Granularity.MONTHLY and len(bounds) - 1 > MONTHLY_MONTHS_MAX:
        too_long = f"has {len(bounds) - 1} months; a monthly export has at most {MONTHLY_MONTHS_MAX}"
        checks.refuse("timeRange", too_long)
    elif is_covered_by_rollups(request):
        try:
            plan_series(question, {})
        except NotCovered as error:
            checks.refuse("groupBy", f"with these filters, {error}")


def _spelled(duration: timedelta) -> str:
    days, rest = divmod(duration, DAY)
    parts = [f"{days} day{'' if days == 1 else 's'}"] if days else []
    return " and ".join([*parts, format_duration(rest)] if rest or not parts else parts)


def _filters(body: CreateExport, checks: _Checks) -> Filters:
    filters = body.filters
    if body.models and filters.model_id:
        checks.refuse("filters.modelId", "is another name for models: give one of them")
    named = [("models", body.models)]
    named += [
        (f"filters.{field.encode_name}", getattr(filters, field.name)) for field in msgspec.structs.fields(Filters)
    ]
    for name, values in named:
        for index, value in enumerate(values):
            if "\0" in value:
                checks.refuse(f"{name}[{index}]", "must not contain NUL")
    for index, status in enumerate(filters.status):
        checks.known(f"filters.status[{index}]", status, get_args(Status))
    return msgspec.structs.replace(filters, model_id=list(dict.fromkeys(body.models or filters.model_id)))


def _check_delivery(delivery: Delivery | None, settings: Settings, checks: _Checks) -> None:
    if delivery is None:
        return
    if delivery.bucket is not None and delivery.bucket != settings.s3_bucket:
        own, given = settings.s3_bucket, delivery.bucket[:100]
        checks.refuse("delivery.bucket", f"{given!r} is not allowed: exports go to {own!r}")
    if delivery.prefix is not None:
        checks.known("delivery.prefix", delivery.prefix, settings.prefixes)


def _check_webhook(webhook: Webhook | None, settings: Settings, checks: _Checks) -> None:
    problem = url_problem(webhook.url, settings) if webhook else None
    if problem is not None:
        checks.refuse("webhook.url", problem)
