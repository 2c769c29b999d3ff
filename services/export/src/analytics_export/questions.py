"""What an export asks of the rollups: the same question that the usage API would ask."""

from datetime import datetime

from analytics_core.query.question import Dimension, Filters, Question
from analytics_core.query.zones import Granularity as BucketWidth
from analytics_core.query.zones import parse_zone
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


def period_end(request: JobRequest) -> datetime:
    """The end of the last bucket, or of the range for events."""
    return request.end if request.granularity is Granularity.EVENTS else question_of(request).bounds()[-1]


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
