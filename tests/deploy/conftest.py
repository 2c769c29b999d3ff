"""Charts rendered by helm, once for each chart and example."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.programs import helm
from tools.devstack.stack import PROJECT

CHARTS = ("ingest", "query-api", "rollup", "export", "migrations", "observability")
Manifests = list[dict[str, Any]]


class Helm:
    """The charts in a folder of their own, with their dependency in place, and helm to work on them."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.program), *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def template(self, chart: str, *arguments: str) -> Manifests:
        """What `helm template` renders; fails the test with helm's words when it refuses."""
        done = self.run("template", chart, chart, "--namespace", "analytics", *arguments)
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    program = helm()
    if program is None:
        pytest.skip("helm is not here, and without Go it cannot be built")
    folder = tmp_path_factory.mktemp("charts") / "charts"
    shutil.copytree(PROJECT / "charts", folder, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    helm_here = Helm(program, folder)
    for chart in CHARTS:
        done = helm_here.run("dependency", "build", chart)
        assert done.returncode == 0, done.stderr
    return helm_here


@pytest.fixture(scope="session")
def rendered(charts: Helm) -> Callable[[str, str], Manifests]:
    """The manifests of a chart with the values of an example: `rendered("ingest", "production")`."""
    known: dict[tuple[str, str], Manifests] = {}

    def render(chart: str, example: str) -> Manifests:
        if (chart, example) not in known:
            known[chart, example] = charts.template(chart, "--values", f"examples/{example}/{chart}.yaml")
        return known[chart, example]

    return render
