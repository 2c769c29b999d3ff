"""Commands to go on with: they work as printed, in the folder in which the demo was called."""

import json
import os
import shlex
from urllib.parse import urlencode

from tools.demo.api import Window
from tools.devstack.stack import PROJECT


def lines(
    gateway_url: str, stack: str, org_id: str, model_id: str, export_id: str, window: Window
) -> list[tuple[str, str]]:
    """What a line shows, and the line. The first one sets TOKEN for the others."""
    dev = shlex.quote(os.path.join(".", os.path.relpath(PROJECT / "tools/dev")))  # noqa: PTH118 — a Path drops the dot
    other_stack = "" if stack == "dev" else f" --stack {stack}"
    org = f"{gateway_url}/analytics/v1/orgs/{org_id}"
    hours, days = _query(window.query), _query(window.whole_days.query)
    body = json.dumps({"timeRange": window.whole_days.query})
    redirect = "-o /dev/null -w '%{redirect_url}'"
    return [
        ("a token of this organisation's administrator", f"TOKEN=$({dev} token --org {org_id}{other_stack})"),
        ("usage by hour", _curl(f"{org}/usage?{hours}")),
        ("spend by model and day", _curl(f"{org}/usage?{days}&granularity=day&groupBy=model")),
        ("error rate and latencies of one model", _curl(f"{org}/reliability?{hours}&{_query({'modelId': model_id})}")),
        ("how current the numbers are", _curl(f"{org}/freshness")),
        (
            "ask for an export of these days",
            _curl(f"{org}/exports", f"-H 'Content-Type: application/json' -d '{body}'"),
        ),
        ("the exports so far", _curl(f"{org}/exports")),
        (
            "the file of the export above, through its signed URL",
            f'curl -sS -o usage.csv "$({_curl(f"{org}/exports/{export_id}/download", redirect)})"',
        ),
    ]


def _query(parameters: dict[str, str]) -> str:
    return urlencode(parameters, safe=":")


def _curl(url: str, options: str = "") -> str:
    arguments = f"{options} " if options else ""
    return f"curl -sS {arguments}-H \"Authorization: Bearer $TOKEN\" '{url}'"
