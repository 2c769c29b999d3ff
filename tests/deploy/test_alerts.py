"""The alert rules against made-up series, with Prometheus' own tool: each fires when it has to, and not otherwise."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.alert_cases import CASES, Case
from tests.support.programs import prometheus
from tools.devstack.stack import PROJECT

RULES = PROJECT / "charts" / "observability" / "rules" / "analytics-alerts.yaml"
RUNBOOKS = PROJECT / "docs" / "runbooks"
# The first run on a machine fetches promtool.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def promtool() -> Path:
    found = prometheus("promtool")
    if found is None:
        pytest.skip("promtool is not here, and Debian's package cannot be fetched")
    return found


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_every_alert_has_a_firing_and_a_quiet_case() -> None:
    """An alert that was never seen firing, or never quiet, is a guess."""
    assert {case.alert for case in CASES if case.fires} == set(alerts())
    assert {case.alert for case in CASES if not case.fires} == set(alerts())


def test_prometheus_accepts_the_rules(promtool: Path) -> None:
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_cases_come_out_as_said(promtool: Path, tmp_path: Path) -> None:
    """All in one run of promtool: it takes a second, and its output names the case."""
    file = tmp_path / "cases.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [*map(promtool_test, CASES)]})
    )

    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def promtool_test(case: Case) -> dict[str, Any]:
    series = []
    for line in case.series:
        name, _, values = line.rpartition("} ") if "} " in line else line.partition(" ")
        series.append({"series": f"{name}}}" if "{" in name else name, "values": values})
    return {
        "name": f"{case.alert} {'fires' if case.fires else 'is quiet'}",
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{case.alert}", alertstate="firing"}}) > bool 0',
                "eval_time": f"{case.minute}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
            }
        ],
    }


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_says_what_to_do(name: str) -> None:
    """Whoever is woken needs a page: meaning, impact, first look, fix, verify."""
    alert = alerts()[name]
    page = (RUNBOOKS / f"{name}.md").read_text()

    assert alert["annotations"]["runbook_url"].endswith(f"docs/runbooks/{name}.md")
    assert {"summary", "description"} <= alert["annotations"].keys()
    assert alert["labels"]["severity"] in {"warning", "critical"}
    for part in ("Meaning", "Impact", "First look", "Fix", "Verify"):
        assert f"## {part}" in page
