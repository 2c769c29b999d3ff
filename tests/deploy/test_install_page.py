"""The commands of docs/install.md: they make the Secrets that the charts ask for, and helm understands them."""

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import CHARTS, Helm
from tools.devstack.stack import DATABASE_ROLES, OWNER_ROLE, PROJECT

PAGE = (PROJECT / "docs" / "install.md").read_text()
SCRIPT = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
COMMANDS = [shlex.split(line) for line in SCRIPT.splitlines()]
SECRETS = {command[4]: command for command in COMMANDS if command[:4] == ["kubectl", "create", "secret", "generic"]}
INSTALLED = {command[3]: command for command in COMMANDS if command[:3] == ["helm", "upgrade", "--install"]}
WITH_SECRETS = tuple(chart for chart in CHARTS if chart != "observability")


@pytest.mark.parametrize("chart", WITH_SECRETS)
def test_a_secret_has_what_the_chart_asks_for(chart: str) -> None:
    """A missing key is a pod that waits for ever with CreateContainerConfigError."""
    values: dict[str, Any] = yaml.safe_load((PROJECT / "charts" / chart / "values.yaml").read_text())
    given = set(re.findall(r"--from-literal=(\w+)=", " ".join(SECRETS[values["existingSecret"]])))

    assert set(values["secretKeys"]) <= given
    assert given <= {*values["secretKeys"], *values["optionalSecretKeys"]}


@pytest.mark.timeout(1800)
def test_every_chart_is_installed_as_written(charts: Helm) -> None:
    assert set(INSTALLED) == set(CHARTS)
    for release, (_, _, _, _, chart, *options) in INSTALLED.items():
        arguments = [each.replace("charts/examples", "examples") for each in options if each != "--wait"]
        done = charts.run("template", release, chart.removeprefix("charts/"), *arguments)
        assert done.returncode == 0, done.stderr


def test_the_schema_comes_first_and_every_role_gets_its_password() -> None:
    assert next(iter(INSTALLED)) == "migrations"
    logins = set(re.findall(r"^(?:CREATE|ALTER) ROLE (\w+) LOGIN", PAGE, re.MULTILINE))
    assert logins == {OWNER_ROLE, *DATABASE_ROLES, "analytics_dashboards"}


def test_links_lead_somewhere() -> None:
    for page in (PROJECT / "docs" / "install.md", PROJECT / "docs" / "quickstart.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), target
