"""Named sets of columns: what finance, chargeback and on-call each need, and everything."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from analytics_core.query.question import Dimension
from analytics_export.columns import (
    BUCKET_START,
    DIMENSIONS,
    EVENT_IDENTITY,
    EVENT_METADATA,
    EVENT_ORIGIN,
    EVENT_OUTCOME,
    MEASURES,
    ORGANIZATION,
    REQUESTS,
    TOKENS_AND_COST,
    Column,
)
from analytics_export.ranges import Granularity


class TemplateName(StrEnum):
    """The templates there are."""

    FULL = "full"
    FINANCE_SUMMARY = "finance-summary"
    CHARGEBACK = "chargeback"
    INCIDENT = "incident"


@dataclass(frozen=True, slots=True)
class Template:
    """One set of columns. `version` grows when columns are added; a column never changes its name or meaning.

    The first granularity is the default. `group_by` None leaves the dimensions to the caller.
    """

    name: TemplateName
    version: int
    title: str
    granularities: tuple[Granularity, ...]
    group_by: tuple[str, ...] | None
    measures: tuple[Column, ...] = ()
    event_columns: tuple[Column, ...] = ()

    def columns(self, granularity: Granularity, group_by: Sequence[str]) -> tuple[Column, ...]:
        """The columns of a file, in order."""
        if granularity is Granularity.EVENTS:
            return self.event_columns
        return (BUCKET_START, ORGANIZATION, *(DIMENSIONS[name] for name in group_by), *self.measures)


_BUCKETS = (Granularity.DAILY, Granularity.HOURLY, Granularity.MONTHLY)
TEMPLATES = {
    template.name: template
    for template in (
        Template(
            name=TemplateName.FULL,
            version=1,
            title="Every column; the dimensions that groupBy names, or every raw event with its metadata",
            granularities=(*_BUCKETS, Granularity.EVENTS),
            group_by=None,
            measures=MEASURES,
            event_columns=(*EVENT_IDENTITY, *EVENT_OUTCOME, *TOKENS_AND_COST, *EVENT_ORIGIN, EVENT_METADATA),
        ),
        Template(
            name=TemplateName.FINANCE_SUMMARY,
            version=1,
            title="Spend per model and project and month, for the books",
            granularities=(Granularity.MONTHLY,),
            group_by=("model", "project"),
            measures=(REQUESTS, *TOKENS_AND_COST),
        ),
        Template(
            name=TemplateName.CHARGEBACK,
            version=1,
            title="Spend per project, team and client, to bill it on; from the raw events, which alone know the team",
            granularities=(Granularity.MONTHLY, Granularity.DAILY),
            group_by=("project", "team", "client"),
            measures=(REQUESTS, *TOKENS_AND_COST),
        ),
        Template(
            name=TemplateName.INCIDENT,
            version=1,
            title="Raw events with outcome, latency and origin, to see what happened",
            granularities=(Granularity.EVENTS,),
            group_by=(),
            event_columns=(*EVENT_IDENTITY, *EVENT_OUTCOME, *EVENT_ORIGIN, *TOKENS_AND_COST),
        ),
    )
}


# What `groupBy` may name.
GROUPABLE = tuple(dimension.value for dimension in Dimension if dimension is not Dimension.ORG)
