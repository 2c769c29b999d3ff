"""What callers may ask for, and the checks that the types do not make. Field names are the contract."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec

from analytics_core.buckets import DAY
from analytics_core.errors import FieldError, InvalidRequest
from analytics_core.units import format_duration
from analytics_export.jobs import Format, JobRequest
from analytics_export.limits import (
    MODEL_ID_CHARACTERS_MAX,
    MODELS_MAX,
    MONTHLY_MONTHS_MAX,
    SUBJECT_CHARACTERS_MAX,
)
from analytics_export.ranges import Granularity, first_bucket_from, months_touched
from analytics_export.settings import Settings

_Time = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339 with an offset.")]
_ModelId = Annotated[str, msgspec.Meta(min_length=1, max_length=MODEL_ID_CHARACTERS_MAX)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class TimeRange(_Body, frozen=True, kw_only=True):
    """The hours or days that start within [start, end), in UTC."""

    start: _Time
    end: _Time


class Delivery(_Body, frozen=True, kw_only=True):
    """Where the file goes: the service's own bucket, which may be named."""

    type: Literal["s3"] = "s3"
    bucket: str | None = None


class CreateExport(_Body, frozen=True, kw_only=True):
    """An export to be made. No models means all models."""

    time_range: TimeRange
    granularity: Granularity = Granularity.DAILY
    format: Format = Format.CSV
    models: Annotated[list[_ModelId], msgspec.Meta(max_length=MODELS_MAX)] = []
    delivery: Delivery | None = None


def job_request(body: CreateExport, settings: Settings, subject: str) -> JobRequest:
    """The job that a body asks for. Raises `InvalidRequest` with every field that is wrong."""
    errors = [*_range_errors(body, settings), *_other_errors(body, settings)]
    if errors:
        raise InvalidRequest("; ".join(f"{error.field}: {error.detail}" for error in errors), errors=tuple(errors))
    return JobRequest(
        body.granularity,
        body.format,
        body.time_range.start.astimezone(UTC),
        body.time_range.end.astimezone(UTC),
        tuple(dict.fromkeys(body.models)),
        subject.replace("\0", "\N{REPLACEMENT CHARACTER}")[:SUBJECT_CHARACTERS_MAX],
    )


def _range_errors(body: CreateExport, settings: Settings) -> list[FieldError]:
    start, end, granularity = body.time_range.start, body.time_range.end, body.granularity
    if end <= start:
        return [FieldError("timeRange.end", "must be after timeRange.start")]
    try:
        first, after_last = first_bucket_from(start, granularity), first_bucket_from(end, granularity)
    except OverflowError:
        return [FieldError("timeRange", "is beyond the calendar")]
    if first >= after_last:
        unit = "hour" if granularity is Granularity.HOURLY else "UTC day"
        return [FieldError("timeRange", f"no {unit} starts within it, so the file would be empty")]
    if granularity is Granularity.MONTHLY:
        months = months_touched(first, after_last)
        too_long = f"touches {months} months; a monthly export spans at most {MONTHLY_MONTHS_MAX}"
        return [FieldError("timeRange", too_long)] if months > MONTHLY_MONTHS_MAX else []
    if end - start > settings.export_range_max:
        spans, limit = _spelled(end - start), _spelled(settings.export_range_max)
        return [FieldError("timeRange", f"spans {spans}; {granularity} rows are written for at most {limit}")]
    return []


def _spelled(duration: timedelta) -> str:
    days, rest = divmod(duration, DAY)
    parts = [f"{days} day{'' if days == 1 else 's'}"] if days else []
    return " and ".join([*parts, format_duration(rest)] if rest or not parts else parts)


def _other_errors(body: CreateExport, settings: Settings) -> list[FieldError]:
    errors = [
        FieldError(f"models[{index}]", "must not contain NUL")
        for index, model in enumerate(body.models)
        if "\0" in model
    ]
    bucket = body.delivery.bucket if body.delivery else None
    if bucket is not None and bucket != settings.s3_bucket:
        errors.append(
            FieldError("delivery.bucket", f"exports go to {settings.s3_bucket!r}; leave the field out or name that one")
        )
    return errors
