"""OPTIONS of paths that several handlers share: Litestar's own answer knows the method of one of them alone."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from litestar import HttpMethod, Response, route
from litestar.handlers import HTTPRouteHandler


def options_of_shared_paths(handlers: Iterable[Any]) -> list[HTTPRouteHandler]:
    """A handler for each path that more than one of these have. To be registered before them."""
    methods: dict[str, list[str]] = defaultdict(list)
    shared = set()
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            for path in handler.paths:
                shared |= {path} & methods.keys()
                methods[path] += sorted(handler.http_methods)
    return [_names_methods(path, methods[path]) for path in sorted(shared)]


def _names_methods(path: str, methods: Iterable[str]) -> HTTPRouteHandler:
    allowed = ", ".join(sorted({*methods, "OPTIONS"}))

    @route(
        path,
        http_method=HttpMethod.OPTIONS,
        status_code=204,
        opt={"public": True},
        include_in_schema=False,
        sync_to_thread=False,
        name=f"methods of {path}",
    )
    def name_methods() -> Response[None]:
        return Response(None, headers={"Allow": allowed})

    return name_methods
