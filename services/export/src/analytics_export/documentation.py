"""What the OpenAPI document says beyond what Litestar reads from types: docstrings, and that bodies are closed."""

import inspect

from litestar.openapi.spec import OpenAPI, Schema

from analytics_export.requests import CreateExport, Delivery, TimeRange
from analytics_export.responses import Export, ExportError, ExportLinks, ExportList, ExportRange

_STRUCTS = (CreateExport, TimeRange, Delivery, Export, ExportRange, ExportError, ExportLinks, ExportList)


def complete(document: OpenAPI) -> None:
    """Describe every struct of this API. Raises `KeyError` for one that the document lacks."""
    for struct in _STRUCTS:
        schema: Schema = document.components.schemas[struct.__name__]
        schema.description = inspect.getdoc(struct)
        if struct.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
