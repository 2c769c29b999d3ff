"""`/analytics/v1/exports/templates`: what can be exported, for people and programs that build a request."""

from typing import Any

import msgspec
from litestar import Response, get

from analytics_core.http.app import API_PREFIX
from analytics_export.columns import Column, Kind
from analytics_export.ranges import Granularity
from analytics_export.templates import GROUPABLE, TEMPLATES, Template, TemplateName


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class TemplateColumn(_Answer, frozen=True, kw_only=True):
    """A column of the file; contracts/exports says how each type is written in each format."""

    name: str
    type: Kind


class ExportTemplate(_Answer, frozen=True, kw_only=True):
    """One template. `version` grows when columns are added; none ever changes its name or meaning.

    The first granularity is the default. Where `groupByIsFixed` is false, a request may name other dimensions, and
    `columns` are those of the default. `eventColumns` are those of granularity events.
    """

    name: TemplateName
    version: int
    title: str
    granularities: list[Granularity]
    group_by: list[str]
    group_by_is_fixed: bool
    columns: list[TemplateColumn]
    event_columns: list[TemplateColumn]


class ExportTemplates(_Answer, frozen=True, kw_only=True):
    """All templates; `groupable` are the dimensions that a request may name."""

    items: list[ExportTemplate]
    groupable: list[str]


@get(
    f"{API_PREFIX}/exports/templates",
    opt={"public": True},
    operation_id="listExportTemplates",
    summary="List the templates of exports",
    response_description="The templates",
    tags=["exports"],
    sync_to_thread=False,
)
def list_export_templates() -> Response[ExportTemplates]:
    """Column sets by name. The same for everybody, so it needs no identity."""
    answer = ExportTemplates(items=[_shown(template) for template in TEMPLATES.values()], groupable=list(GROUPABLE))
    return Response(answer, headers={"Cache-Control": "public, max-age=300"})


def _shown(template: Template) -> ExportTemplate:
    group_by = template.group_by if template.group_by is not None else ("model",)
    buckets = next((each for each in template.granularities if each is not Granularity.EVENTS), None)
    return ExportTemplate(
        name=template.name,
        version=template.version,
        title=template.title,
        granularities=list(template.granularities),
        group_by=list(group_by),
        group_by_is_fixed=template.group_by is not None,
        columns=_columns(template.columns(buckets, group_by)) if buckets else [],
        event_columns=_columns(template.event_columns),
    )


def _columns(columns: tuple[Column, ...]) -> list[TemplateColumn]:
    return [TemplateColumn(name=column.name, type=column.kind) for column in columns]


TEMPLATE_ROUTES: list[Any] = [list_export_templates]
