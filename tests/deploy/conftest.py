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
# What the examples leave switched off, or on.
VARIANTS = {
    "ingest": "keda.enabled=false,networkPolicy.to.otel=null,config.OTEL_EXPORTER_OTLP_ENDPOINT=null",
    "query-api": "autoscaling.enabled=false,keda.enabled=true,keda.serverAddress=http://prometheus:9090,"
    "route.ingress.enabled=false,route.httpRoute.enabled=true,route.httpRoute.parentRefs[0].name=public,"
    "route.httpRoute.timeouts.request=0s,extraVolumes[0].name=ca,extraVolumes[0].secret.secretName=ca,"
    "extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/ca",
    "rollup": "keda.enabled=true,keda.serverAddress=http://prometheus:9090,serviceAccount.create=false,"
    "serviceAccount.name=analytics,podLabels.team=platform",
    "export": "autoscaling.enabled=true,existingSecret=of-another-name,config.EXPORT_WEBHOOK_HOSTS=hooks.example.com,"
    "networkPolicy.to.webhooks.peers[0].ipBlock.cidr=203.0.113.0/24,networkPolicy.to.webhooks.ports[0]=443,"
    "networkPolicy.to.postgres.peers[0].ipBlock.cidr=10.20.0.0/16,networkPolicy.to.postgres.ports[0]=6432",
}


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

    def variant(self, chart: str) -> Manifests:
        """The example for production with the values of `VARIANTS`."""
        return self.template(chart, "--values", f"examples/production/{chart}.yaml", "--set", VARIANTS[chart])


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
