"""What the OpenAPI document says beyond what Litestar reads from types: docstrings, and that bodies are closed."""

import inspect
from typing import Any

from litestar.openapi.spec import OpenAPI, OpenAPIType, Schema

from analytics_core.http.links import add_link
from analytics_export.filters import Filters
from analytics_export.requests import NAMES, CreateExport, Delivery, TimeRange, Webhook
from analytics_export.responses import (
    Export,
    ExportError,
    ExportLinks,
    ExportList,
    ExportProgress,
    ExportRange,
    ExportTotals,
    WebhookCall,
)
from analytics_export.routes.templates import ExportTemplate, ExportTemplates, TemplateColumn
from analytics_export.routes.webhook_secret import WebhookSecret
from analytics_export.schedule_requests import ChangeSchedule, CreateSchedule
from analytics_export.schedule_responses import ExportSchedule, ExportScheduleList, ScheduleLastRun, ScheduleNextRun
from analytics_export.verification import Check, Difference, Verification
from analytics_export.webhook_document import describe_webhook

_STRUCTS = (
    CreateExport, TimeRange, Delivery, Webhook, Filters, Export, ExportRange, ExportError, ExportLinks, ExportList,
    ExportProgress, ExportTotals, WebhookCall, ExportTemplates, ExportTemplate, TemplateColumn,
    CreateSchedule, ChangeSchedule, ExportSchedule, ExportScheduleList, ScheduleNextRun, ScheduleLastRun, WebhookSecret,
    Verification, Check, Difference,
)  # fmt: skip


_OF_EXPORT = ("getExport", "cancelExport", "downloadExport", "getExportManifest", "verifyExport", "followExport")
_OF_SCHEDULE = ("getExportSchedule", "changeExportSchedule", "deleteExportSchedule")


def complete(document: OpenAPI) -> None:
    """Describe every struct of this API, and where its answers lead. Raises `KeyError` for what the document lacks."""
    for targets, name, created, listed in (
        (_OF_EXPORT, "jobId", "createExport", "listExports"),
        (_OF_SCHEDULE, "scheduleId", "createExportSchedule", "listExportSchedules"),
    ):
        for source, place in ((created, ""), (listed, "items/0/")):
            values = {"path.orgId": "$request.path.orgId", f"path.{name}": f"$response.body#/{place}{name}"}
            for target in targets:
                add_link(document, source, target, values)
    for struct in _STRUCTS:
        schema: Schema = document.components.schemas[struct.__name__]
        schema.description = inspect.getdoc(struct)
        if struct.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
    describe_webhook(document)
    body: Any = document.components.schemas[CreateExport.__name__]
    for name, names in NAMES.items():
        field = body.properties[name]
        for alternative in field.one_of or [field]:
            if alternative.type is OpenAPIType.STRING:
                alternative.enum = names
