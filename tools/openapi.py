"""The OpenAPI documents of all services, as they serve them, in `contracts/http`.

Run as `python -m tools.openapi` to write them, with `--check` to learn whether they are up to date.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import yaml
from litestar import Litestar

from analytics_core.lifecycle import Dependencies

FOLDER = Path(__file__).parents[1] / "contracts" / "http"


def _export() -> Litestar:
    from analytics_export.wiring import build_documented_app

    return build_documented_app()


def _ingest() -> Litestar:
    from analytics_ingest.wiring import build_http_app

    return build_http_app(Dependencies({}))


def _query_api() -> Litestar:
    from analytics_query_api.wiring import build_http_app

    return build_http_app(None, Dependencies({}), None, None, None, None)


def _rollup() -> Litestar:
    from analytics_rollup.wiring import build_http_app

    return build_http_app(Dependencies({}))


# Each application needs no server, no settings and no other service to describe itself.
APPLICATIONS: Mapping[str, Callable[[], Litestar]] = MappingProxyType(
    {"export": _export, "ingest": _ingest, "query-api": _query_api, "rollup": _rollup}
)


def path_of(service: str) -> Path:
    return FOLDER / f"{service}.openapi.yaml"


def served(service: str) -> dict[str, Any]:
    """The document that a service serves."""
    schema = msgspec.json.decode(msgspec.json.encode(APPLICATIONS[service]().openapi_schema.to_schema()))
    return {"openapi": schema["openapi"], **schema}


def committed(service: str) -> Any:
    """The document in the repository; None when there is none."""
    return yaml.safe_load(path_of(service).read_text()) if path_of(service).exists() else None


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.openapi", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a document is out of date")
    arguments = parser.parse_args(argv)
    outdated = [service for service in APPLICATIONS if served(service) != committed(service)]
    for service in outdated:
        if not arguments.check:
            text = yaml.dump(served(service), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
            path_of(service).write_text(text)
        print(f"{path_of(service).relative_to(FOLDER.parents[1])}: {'out of date' if arguments.check else 'written'}")
    return 1 if arguments.check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
