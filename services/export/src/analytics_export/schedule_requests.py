"""What callers may ask of schedules, and the checks that the types do not make."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from analytics_core.errors import FieldError, InvalidRequest
from analytics_core.query.zones import parse_zone
from analytics_export.calendars import CalendarError, checked_calendar
from analytics_export.limits import (
    CATCH_UP_PERIODS_MAX,
    CRON_CHARACTERS_MAX,
    PERIODS_CHECKED,
    SCHEDULE_NAME_CHARACTERS_MAX,
)
from analytics_export.requests import Body, Delivery, ExportQuestion, TimeRange, Webhook, export_of, job_request
from analytics_export.schedules import Period, Plan
from analytics_export.scheduling import calendar_of
from analytics_export.settings import Settings

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=SCHEDULE_NAME_CHARACTERS_MAX)]
_Cron = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=CRON_CHARACTERS_MAX,
        description="daily, weekly (Monday), monthly, or five cron fields; on the clocks of export.timezone.",
        examples=["monthly", "0 6 * * MON-FRI"],
    ),
]
_Start = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339 with an offset.")]


class CreateSchedule(Body, frozen=True, kw_only=True):
    """An export for each period between two times of `cron`.

    The first period is the one that `start` lies in; left out, the one that is going on.
    """

    name: _Name
    cron: _Cron
    export: ExportQuestion = msgspec.field(default_factory=ExportQuestion)
    delivery: Delivery | None = None
    webhook: Webhook | None = None
    enabled: bool = True
    start: _Start | None = None


class ChangeSchedule(Body, frozen=True, kw_only=True):
    """The fields to change; the others stay as they are. The period under way keeps its start."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    cron: _Cron | msgspec.UnsetType = msgspec.UNSET
    export: ExportQuestion | msgspec.UnsetType = msgspec.UNSET
    delivery: Delivery | msgspec.UnsetType | None = msgspec.UNSET
    webhook: Webhook | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


def changed(plan: Plan, change: ChangeSchedule) -> CreateSchedule:
    """The whole schedule as it would be created after the change."""
    given = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not msgspec.UNSET}
    kept: dict[str, Any] = {
        "name": plan.name,
        "cron": plan.cron,
        "export": plan.question,
        "delivery": Delivery(prefix=plan.prefix),
        "webhook": Webhook(url=plan.webhook_url) if plan.webhook_url else None,
        "enabled": plan.enabled,
    }
    return CreateSchedule(**(kept | given))


def checked_plan(body: CreateSchedule, settings: Settings, now: datetime) -> Plan:
    """The plan of a body. Raises `InvalidRequest` that names the fields that are wrong."""
    if "\0" in body.name:
        raise InvalidRequest.field("name", "must not contain NUL")
    try:
        zone = parse_zone(body.export.timezone)
    except ValueError as error:
        raise InvalidRequest.field("export.timezone", str(error)) from None
    try:
        calendar = checked_calendar(body.cron, zone, now)
    except CalendarError as error:
        raise InvalidRequest.field("cron", str(error)) from None
    end = calendar.at_or_before(now)
    for _ in range(PERIODS_CHECKED):
        start, end = end, calendar.after(end)
        _check_period(body, TimeRange(start=start, end=end), settings)
    return Plan(
        name=body.name,
        cron=body.cron,
        question=body.export,
        prefix=(body.delivery and body.delivery.prefix) or settings.prefixes[0],
        webhook_url=body.webhook.url if body.webhook else None,
        enabled=body.enabled,
    )


def first_period(plan: Plan, start: datetime | None, now: datetime) -> Period:
    """The period that a new schedule begins with. Raises `InvalidRequest` when it is too long ago."""
    calendar = calendar_of(plan)
    begin = calendar.at_or_before(start or now)
    end, periods = calendar.after(begin), 1
    following = end
    while following <= now:
        following, periods = calendar.after(following), periods + 1
        if periods > CATCH_UP_PERIODS_MAX:
            raise InvalidRequest.field("start", f"is more than {CATCH_UP_PERIODS_MAX} periods ago")
    return Period(begin, end)


def _check_period(body: CreateSchedule, time_range: TimeRange, settings: Settings) -> None:
    export = msgspec.structs.replace(export_of(body.export, time_range), delivery=body.delivery, webhook=body.webhook)
    try:
        job_request(export, settings, "")
    except InvalidRequest as refused:
        errors = tuple(_of_schedule(error, time_range) for error in refused.errors)
        raise InvalidRequest("; ".join(f"{each.field}: {each.detail}" for each in errors), errors=errors) from None


def _of_schedule(error: FieldError, time_range: TimeRange) -> FieldError:
    """An error of one period's export, by the names of the schedule's fields."""
    if error.field.startswith("timeRange"):
        return FieldError("cron", f"makes a period from {time_range.start:%Y-%m-%dT%H:%MZ} on: {error.detail}")
    own = error.field.startswith(("delivery", "webhook"))
    return error if own else FieldError(f"export.{error.field}", error.detail)
