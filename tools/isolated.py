"""`./tools/dev isolated SERVICE`: install one service alone, from the lock, and run its unit and contract tests there.

The shared environment has every service's packages, so an import that a service forgot to declare works in it.
"""

import os
import subprocess
import sys
from pathlib import Path

from tools.settings_docs import SERVICES

ROOT = Path(__file__).parent.parent
TEST_PACKAGES = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "blockbuster", "jsonschema", "pyyaml")
UNIT_TESTS = {
    "ingest": ("ingest", "http_ingest"),
    "rollup": ("rollup",),
    "query-api": ("query_api",),
    "export": ("export",),
}
# Beside its OpenAPI document: what the service alone promises or keeps.
CONTRACT_TESTS = {
    "ingest": ("test_event_schema.py", "test_event_dialects.py", "test_messages.py"),
    "rollup": (),
    "query-api": (),
    "export": ("test_export_templates.py",),
}
OPENAPI_TESTS = (
    "test_openapi.py::test_the_served_document_is_the_committed_one",
    "test_openapi.py::test_every_operation_says_what_it_is_and_what_may_go_wrong",
)


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in SERVICES:
        print(f"usage: ./tools/dev isolated {'|'.join(SERVICES)}", file=sys.stderr)
        return 2
    service = sys.argv[1]
    place = ROOT / ".dev" / "isolated" / service
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(place)}
    uv, python = os.environ.get("UV", "uv"), str(place / "bin" / "python")
    unit = [f"tests/unit/{folder}" for folder in UNIT_TESTS[service]]
    contract = [*CONTRACT_TESTS[service], *(f"{test}[{service}]" for test in OPENAPI_TESTS)]
    tests = [*unit, *(f"tests/contract/{test}" for test in contract)]
    for command in (
        [uv, "sync", "--quiet", "--locked", "--no-default-groups", "--package", f"analytics-{service}"],
        [uv, "pip", "install", "--quiet", "--python", python, *TEST_PACKAGES],
        [str(place / "bin" / f"analytics-{service}"), "--help"],
        # The conftest above these tests is about servers, which they do without.
        [python, "-m", "pytest", "-q", "--confcutdir", "tests/unit", *tests],
    ):
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
