"""docker-compose.yml against what it is made of: the settings classes, the local stack, the Dockerfiles."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics_core.settings import ServiceSettings, load_settings
from tools.devstack import docker, services
from tools.devstack.ports import Ports
from tools.devstack.stack import PROJECT, Secrets, Stack

COMPOSE_FILE = PROJECT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)[^}]*\}")
SERVICES = [service.folder for service in services.SERVICES]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE_FILE.read_text()))


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack("unit", tmp_path, Ports.from_base(30000), Secrets())


def settings_class(folder: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"analytics_{folder.replace('-', '_')}.settings")
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, ServiceSettings) and value.__module__ == module.__name__
    ]
    return classes[0]


def filled(environment: dict[str, str], stack: Stack) -> dict[str, str]:
    """The environment as Compose hands it over, variables filled in."""
    known = docker.variables(stack)
    return {name: VARIABLE.sub(lambda match: known[match["name"]], value) for name, value in environment.items()}


def load(folder: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    with monkeypatch.context() as patch:
        patch.setattr("os.environ", dict(environment))
        return load_settings(settings_class(folder))


def test_every_variable_of_the_file_is_given(stack: Stack) -> None:
    """Compose replaces an unknown variable by nothing and says so in a warning that nobody reads."""
    used = {match["name"] for match in VARIABLE.finditer(COMPOSE_FILE.read_text())}

    assert used <= docker.variables(stack).keys()


@pytest.mark.parametrize("folder", SERVICES)
def test_each_service_starts_with_what_compose_gives_it(
    compose: dict[str, Any], stack: Stack, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing or refused variable would show only on a machine with Docker."""
    environment = filled(compose["services"][folder]["environment"], stack)

    assert load(folder, environment, monkeypatch).service_name == f"analytics-{folder}"
    unknown = {name for name in environment if name.lower() not in settings_class(folder).model_fields}
    assert not unknown


@pytest.mark.parametrize("folder", SERVICES)
def test_compose_and_the_local_stack_configure_alike(
    compose: dict[str, Any], stack: Stack, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What works in one way of running the product works in the other."""
    service = next(each for each in services.SERVICES if each.folder == folder)
    local = services.environment(stack, service)
    in_compose = filled(compose["services"][folder]["environment"], stack)

    assert load(folder, local, monkeypatch).service_name == f"analytics-{folder}"
    # Only containers have two names for the object store: theirs and the user's.
    assert set(in_compose) - {"S3_PUBLIC_ENDPOINT"} == set(local)
    same = {"ENVIRONMENT", "LOG_LEVEL", "SERVICE_NAME", "RABBITMQ_STREAM", "S3_BUCKET", "S3_REGION", "AUTH_JWT_SECRET"}
    for name in same & set(local):
        assert in_compose[name] == local[name]


def test_every_port_is_published_on_this_machine_only(compose: dict[str, Any]) -> None:
    """A development database on all interfaces is found within hours."""
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert len(published) >= 9
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_image_names_its_version(compose: dict[str, Any]) -> None:
    """`latest` is another program every week."""
    images = [service["image"] for service in compose["services"].values() if "image" in service]

    assert all(re.search(r":\d+\.\d+", image) for image in images)


@pytest.mark.parametrize("folder", SERVICES)
def test_each_image_runs_its_services_console_script(folder: str) -> None:
    """The name of folder, package, distribution and image is one."""
    dockerfile = (PROJECT / "services" / folder / "Dockerfile").read_text()
    project = tomllib.loads((PROJECT / "services" / folder / "pyproject.toml").read_text())["project"]

    assert f'ENTRYPOINT ["{next(iter(project["scripts"]))}"]' in dockerfile
    assert f"--package {project['name']}\n" in dockerfile


def test_the_images_differ_in_the_name_of_their_service_only() -> None:
    """Four files that say the same are kept the same."""
    texts = {
        (PROJECT / "services" / folder / "Dockerfile")
        .read_text()
        .replace(f"analytics-{folder}", "X")
        .replace(f"services/{folder}", "Y")
        for folder in SERVICES
    }

    assert len(texts) == 1
