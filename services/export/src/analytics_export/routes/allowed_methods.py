"""OPTIONS of paths that several handlers share."""

from typing import Any

from litestar import HttpMethod, Response, route


def names_methods(path: str, *methods: str) -> Any:
    """A handler of OPTIONS: Litestar's own knows only the method that was registered last. Register it first."""

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
        return Response(None, headers={"Allow": ", ".join(sorted({*methods, "OPTIONS"}))})

    return name_methods
