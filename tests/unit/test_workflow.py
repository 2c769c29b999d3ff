"""The hosted workflow runs recipes that exist, for services that exist."""

import re
import subprocess

import yaml

from tools.devstack.stack import PROJECT
from tools.settings_docs import SERVICES

WORKFLOW = PROJECT / ".github" / "workflows" / "ci.yml"


def test_every_recipe_of_the_workflow_exists() -> None:
    listing = subprocess.run(["just", "--summary"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    called = set(re.findall(r"\./tools/dev ([a-z-]+)", WORKFLOW.read_text()))

    assert called
    assert called <= set(listing.split())


def test_every_service_has_its_job() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]

    assert set(jobs["service"]["strategy"]["matrix"]["service"]) == set(SERVICES)
    assert "bash .ci/run" in str(jobs["suite"]["steps"])


def test_every_image_is_built_and_started() -> None:
    steps = WORKFLOW.read_text().replace("${{ matrix.service }}", "*")
    built = {file for pattern in re.findall(r"docker build -f (\S+)", steps) for file in PROJECT.glob(pattern)}

    assert built == {*PROJECT.glob("services/*/Dockerfile"), *PROJECT.glob("*/Dockerfile")}
    assert steps.count("docker run --rm --read-only") == 2
