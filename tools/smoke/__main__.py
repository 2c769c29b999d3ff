"""`./tools/dev smoke`: does a deployed system do its main jobs? Exit code 0 when every check passed, 1 when not."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
from rich.console import Console
from rich.markup import escape

from tools.devstack import dev_token, envfile
from tools.devstack.stack import env_file
from tools.smoke.checks import CheckFailed, Target, all_checks, target

# An organisation of the checks' own, unless another is named: its numbers disturb nobody's.
SMOKE_ORG = "00000000-0000-4000-8000-5040c0de0001"
TOKEN_VARIABLE = "ANALYTICS_TOKEN"


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    console = Console(stderr=options.json, highlight=False)
    try:
        url, token = _where(options)
    except LookupError as error:
        console.print(f"[bold red]✘[/] {error.args[0]}", soft_wrap=True)
        return 2
    with httpx.Client(base_url=url, timeout=30) as client:
        system = target(client, str(options.org_id), token, options.patience)
        results = [_run(console, name, check, system) for name, check in all_checks(internal=options.internal)]
    passed = all(result["passed"] for result in results)
    console.print(f"{sum(result['passed'] for result in results)} of {len(results)} checks passed at {url}")
    if blamed := sorted({result["service"] for result in results if result["service"]}):
        console.print(f"Read the logs of: {', '.join(blamed)}")
    if options.json:
        print(json.dumps({"url": url, "passed": passed, "checks": results}))
    return 0 if passed else 1


def _run(console: Console, name: str, check: Any, system: Target) -> dict[str, Any]:
    began = time.monotonic()
    service = None
    try:
        detail, passed = check(system), True
    except CheckFailed as error:
        detail, passed, service = str(error), False, error.service
    except httpx.TransportError as error:
        detail, passed, service = f"{type(error).__name__}: {error}", False, "gateway"
    except (httpx.HTTPError, KeyError, ValueError, TypeError) as error:
        detail, passed = f"{type(error).__name__}: {error}", False
    mark = "[green]✔[/]" if passed else "[bold red]✘[/]"
    blame = f"[bold]{service}:[/] " if service else ""
    console.print(f"{mark} {name:<20} {blame}{escape(detail)}", soft_wrap=True)
    seconds = round(time.monotonic() - began, 3)
    return {"check": name, "passed": passed, "service": service, "detail": detail, "seconds": seconds}


def _where(options: argparse.Namespace) -> tuple[str, str]:
    """The URL and a token; those of the dev stack where none are given. LookupError when there is neither."""
    token = options.token or os.environ.get(TOKEN_VARIABLE)
    if options.url and token:
        return options.url.rstrip("/"), token
    if options.url:
        raise LookupError(f"Give --token or {TOKEN_VARIABLE}: a bearer token with org:admin in the organisation.")
    file = env_file(options.stack)
    if not file.exists():
        raise LookupError("No --url is given, and no dev stack was started here: ./tools/dev up, or --url and --token.")
    org = [str(options.org_id)]
    token = dev_token.mint(options.stack, subject="smoke", orgs=org, roles=(), admin=False, ttl_s=3600)
    return envfile.parse(file)["GATEWAY_URL"], token


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./tools/dev smoke", description=__doc__)
    add = parser.add_argument
    add("--url", help="base URL of the gateway, such as https://api.example.com (default: the dev stack)")
    add("--token", help=f"bearer token with org:admin in the organisation (default: ${TOKEN_VARIABLE})")
    add("--org-id", type=UUID, default=UUID(SMOKE_ORG), help="organisation that gets one event and one export")
    add("--patience", type=float, default=60, metavar="SECONDS", help="longest wait for one thing (default: 60)")
    add("--internal", action="store_true", help="the URL is not public: /metrics has to be there")
    add("--json", action="store_true", help="print the results as one JSON object")
    add("--stack", default="dev", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
