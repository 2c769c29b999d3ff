"""Each problem that a caller may meet is explained: those of the code, the framework and the gateway."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from analytics_core.errors import ApiError
from analytics_core.http.problems import _FRAMEWORK

ROOT = Path(__file__).parents[2]
SERVICES = ("analytics_ingest", "analytics_rollup", "analytics_query_api", "analytics_export")


def documented() -> dict[str, int]:
    """Code and status of every row of docs/problems.md."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", (ROOT / "docs" / "problems.md").read_text(), re.MULTILINE)
    return {code: int(status) for code, status in rows}


def kinds(kind: type[ApiError] = ApiError) -> Iterator[type[ApiError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from kinds(narrower)


def of_the_gateway() -> dict[str, int]:
    """From the map of statuses to codes."""
    text = (ROOT / "tools/devstack/nginx/gateway.conf.template").read_text()
    block = re.search(r"map \$status \$problem_code \{(.*?)\}", text, re.DOTALL)
    assert block is not None
    # 494 is nginx's own name for 431, and what it cannot reach is unavailable whatever the number.
    return {
        code: int(status)
        for status, code in re.findall(r"^\s+(\d{3}) ([a-z-]+);", block[1], re.MULTILINE)
        if status not in {"494", "502"}
    }


def test_every_problem_is_explained_and_no_other() -> None:
    """A code that nobody explains is a riddle; one that does not exist any more is a lie."""
    for service in SERVICES:
        import_module(f"{service}.wiring")
    of_code = {kind.code: kind.status for kind in kinds() if kind.__module__.startswith("analytics_")}
    of_framework = {code: status for status, (code, _) in _FRAMEWORK.items()}

    assert of_code | of_framework | of_the_gateway() == documented()
