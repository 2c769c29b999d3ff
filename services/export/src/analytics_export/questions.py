"""What an export asks of the rollups: the same question that the usage API would ask."""

from datetime import datetime

from analytics_core.buckets import HOUR
from analytics_core.query.question import Dimension, Filters, Question
from analytics_core.query.zones import UTC_ZONE, floor, parse_zone
from analytics_core.query.zones import Granularity as BucketWidth
from analytics_export.columns import DIMENSIONS
from analytics_export.jobs import JobRequest
from analytics_export.ranges import Granularity

UTC_NAME = "UTC"
_WIDTHS = {
    Granularity.HOURLY: BucketWidth.HOUR,
    Granularity.DAILY: BucketWidth.DAY,
    Granularity.MONTHLY: BucketWidth.MONTH,
}


def question_of(request: JobRequest) -> Question:
    """The question about buckets. Dimensions that the rollups do not know are left out."""
    return Question(
        start=request.start,
        end=request.end,
        granularity=_WIDTHS[request.granularity],
        zone=parse_zone(request.timezone),
        filters=_filters(request),
        group_by=tuple(Dimension(name) for name in request.group_by if name in set(Dimension)),
    )


def is_covered_by_rollups(request: JobRequest) -> bool:
    """Whether the rollups know every dimension that the rows are grouped by; else the raw events are counted."""
    return set(request.group_by) <= set(Dimension)


def is_by_model(question: Question) -> bool:
    """Whether the rollup by model answers it, which is ahead of those with more dimensions."""
    return question.dimensions() <= {Dimension.MODEL}


def period_end(request: JobRequest) -> datetime:
    """The end of the last bucket, or of the range for events."""
    return request.end if request.granularity is Granularity.EVENTS else question_of(request).bounds()[-1]


def compared_question(request: JobRequest) -> Question | str:
    """The same calls ungrouped, as the rollups can be asked for them; or why they cannot."""
    if request.granularity is not Granularity.EVENTS:
        return question_of(request).grouped_by()
    if floor(request.start, HOUR) != request.start or floor(request.end, HOUR) != request.end:
        return "the range does not begin and end at whole hours, which is what the rollups have"
    return Question(request.start, request.end, BucketWidth.HOUR, UTC_ZONE, _filters(request))


def in_file_order(names: list[str]) -> tuple[str, ...]:
    """Dimensions in the order of their columns, once each: the same question is the same file however it is asked."""
    asked = set(names)
    return tuple(name for name in DIMENSIONS if name in asked)


def _filters(request: JobRequest) -> Filters:
    wanted = (
        (Dimension.MODEL, request.filters.model_id),
        (Dimension.CLIENT, request.filters.client_id),
        (Dimension.ACTOR, request.filters.actor_id),
        (Dimension.STATUS, request.filters.status),
        (Dimension.ERROR_CODE, request.filters.error_code),
        (Dimension.PROJECT, request.filters.project),
    )
    return tuple((dimension, tuple(values)) for dimension, values in wanted if values)
