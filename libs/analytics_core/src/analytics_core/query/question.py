"""What is asked of the rollups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from analytics_core.query.zones import Granularity, bucket_bounds


class Dimension(StrEnum):
    """What calls can be filtered and grouped by, as callers name it."""

    ORG = "org"
    MODEL = "model"
    CLIENT = "client"
    ACTOR = "actor"
    STATUS = "status"
    ERROR_CODE = "errorCode"
    PROJECT = "project"

    @property
    def column(self) -> str:
        """Its column in rollups and events; an absent value is '' there."""
        return _COLUMNS[self]


_COLUMNS = {
    Dimension.ORG: "org_id",
    Dimension.MODEL: "model_id",
    Dimension.CLIENT: "client_id",
    Dimension.ACTOR: "actor_id",
    Dimension.STATUS: "status",
    Dimension.ERROR_CODE: "error_code",
    Dimension.PROJECT: "project",
}

Filters = tuple[tuple[Dimension, tuple[str, ...]], ...]
"""Dimensions with the values wanted of each; all of the conditions hold."""


@dataclass(frozen=True, slots=True)
class Question:
    """The calls of the buckets that start in [start, end), added up by bucket and group.

    Buckets are hours, days or months of the zone. Not validated: limits are the service's.
    """

    start: datetime
    end: datetime
    granularity: Granularity
    zone: ZoneInfo
    filters: Filters = ()
    group_by: tuple[Dimension, ...] = ()

    def bounds(self) -> tuple[datetime, ...]:
        """Where the buckets start, in UTC and ascending, and behind them the end of the last; empty without buckets."""
        return bucket_bounds(self.start, self.end, self.granularity, self.zone)

    def dimensions(self) -> frozenset[Dimension]:
        """Those that rows must have to answer this."""
        return frozenset((*self.group_by, *(dimension for dimension, _ in self.filters))) - {Dimension.ORG}

    def grouped_by(self, *dimensions: Dimension) -> "Question":
        """The same calls by other groups."""
        return replace(self, group_by=dimensions)

    def previous(self) -> "Question":
        """The same number of buckets right before these; itself where it has none."""
        bounds = self.bounds()
        if not bounds:
            return self
        width = max(later - earlier for earlier, later in pairwise(bounds))
        before = bucket_bounds(bounds[0] - (len(bounds) + 1) * width, bounds[0], self.granularity, self.zone)
        return replace(self, start=before[-len(bounds)], end=bounds[0])


def only(dimension: Dimension, values: Sequence[str]) -> Filters:
    """The filter for some values; none for none."""
    return ((dimension, tuple(values)),) if values else ()
