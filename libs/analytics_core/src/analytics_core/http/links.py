"""OpenAPI links: which operation an answer leads to, and with which of its values. Clients and tests walk them."""

from collections.abc import Iterator, Mapping
from typing import Any

from litestar.enums import ParamType
from litestar.openapi.spec import Link, OpenAPI, OpenAPIResponse, Operation, Parameter

NEXT_PAGE = "nextPage"


def add_link(document: OpenAPI, source: str, target: str, values: Mapping[str, str], body: Any = None) -> None:
    """From the success of one operation to another; the link has the target's name.

    Raises `KeyError` for a source that the document lacks.
    """
    _link(_operations(document)[source], target, Link(operation_id=target, parameters=dict(values), request_body=body))


def link_pages(document: OpenAPI) -> None:
    """From each page of a list to the next one, which is asked for as the page was."""
    for operation_id, operation in _operations(document).items():
        names = dict(_parameters(operation))
        if "cursor" in names.values():
            values = {place: f"$request.{place}" for place, name in names.items() if name != "cursor"}
            values["query.cursor"] = "$response.body#/nextCursor"
            _link(operation, NEXT_PAGE, Link(operation_id=operation_id, parameters=values))


def _link(operation: Operation, name: str, link: Link) -> None:
    responses = operation.responses or {}
    success = responses[min(responses)]
    if isinstance(success, OpenAPIResponse):
        success.links = {**(success.links or {}), name: link}


def _parameters(operation: Operation) -> Iterator[tuple[str, str]]:
    for parameter in operation.parameters or []:
        if isinstance(parameter, Parameter) and parameter.param_in in {"path", "query"}:
            yield f"{ParamType(parameter.param_in).value}.{parameter.name}", parameter.name


def _operations(document: OpenAPI) -> dict[str, Operation]:
    paths = (document.paths or {}).values()
    found = [each for path in paths for each in (path.get, path.put, path.post, path.patch, path.delete)]
    return {operation.operation_id: operation for operation in found if operation and operation.operation_id}
