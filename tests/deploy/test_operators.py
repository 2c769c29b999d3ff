"""What the charts give to operators, by the schemas of these operators."""

from pathlib import Path

import pytest
import yaml

from tests.deploy.conftest import CHARTS, Helm, Manifests
from tests.support import operators

# The first run on a machine fetches the modules and may have to build helm.
pytestmark = pytest.mark.timeout(1800)
APPLICATION_SET = Path("examples/argocd/applicationset.yaml")


@pytest.fixture(scope="module", params=sorted(operators.DEFINITIONS))
def definition(request: pytest.FixtureRequest) -> tuple[str, Path]:
    file = operators.definition(request.param)
    if file is None:
        pytest.skip("the operators' schemas are Go modules, and there is no Go or no network")
    return request.param, file


@pytest.fixture(scope="module")
def everything(charts: Helm) -> Manifests:
    """All charts with the values for production, and the ApplicationSet."""
    production = [
        each for chart in CHARTS for each in charts.template(chart, "-f", f"examples/production/{chart}.yaml")
    ]
    return [*production, yaml.safe_load((charts.folder / APPLICATION_SET).read_text())]


def test_an_operator_accepts_what_is_its_own(definition: tuple[str, Path], everything: Manifests) -> None:
    """A misspelt field would be dropped without a word, and a wrong one refused in the middle of an upgrade."""
    kind, file = definition
    own = [manifest for manifest in everything if manifest["kind"] == kind]

    assert own
    assert [problem for manifest in own for problem in operators.problems(manifest, file)] == []
    # The check itself, against a misspelling beside the right fields.
    for manifest in own:
        (found,) = operators.problems({**manifest, "spec": {**manifest["spec"], "paretnRefs": []}}, file)
        assert "paretnRefs" in found


def test_every_resource_is_checked_by_somebody(everything: Manifests) -> None:
    """By Kubernetes' own schemas in test_charts, or here: a kind of yet another operator needs its definition."""
    foreign = {each["kind"] for each in everything if "." in each["apiVersion"].partition("/")[0]}
    known = {"Ingress", "NetworkPolicy"}

    assert foreign - known == set(operators.DEFINITIONS)
