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
HOST_PORTS_FILE = PROJECT / "tools" / "devstack" / "compose" / "host-ports.yaml"
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
    return {
        name: VARIABLE.sub(lambda match: known.get(match["name"], ""), value) for name, value in environment.items()
    }


def load(folder: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    with monkeypatch.context() as patch:
        patch.setattr("os.environ", dict(environment))
        return load_settings(settings_class(folder))


def test_every_variable_of_the_file_is_given(stack: Stack) -> None:
    """Compose replaces an unknown variable by nothing and says so in a warning that nobody reads."""
    text = COMPOSE_FILE.read_text() + HOST_PORTS_FILE.read_text()
    used = {match["name"] for match in VARIABLE.finditer(text) if ":-" not in match[0]}

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
    # Only containers have two names for the object store: theirs and the user's. Only Compose brings a collector along.
    assert set(in_compose) - {"S3_PUBLIC_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} == set(local)
    same = {"ENVIRONMENT", "LOG_LEVEL", "SERVICE_NAME", "RABBITMQ_STREAM", "S3_BUCKET", "S3_REGION", "AUTH_JWT_SECRET"}
    for name in same & set(local):
        assert in_compose[name] == local[name]


def test_every_port_is_published_on_this_machine_only(compose: dict[str, Any]) -> None:
    """A development database on all interfaces is found within hours; by itself the file publishes no server at all."""
    own = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    added = yaml.safe_load(HOST_PORTS_FILE.read_text())["services"]
    published = [port for ports in own.values() for port in ports]
    published += [port for service in added.values() for port in service["ports"]]

    assert own.keys() == {"gateway", "grafana"}
    assert len(published) >= 10
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_service_has_a_profile_and_a_limit(compose: dict[str, Any]) -> None:
    """One container must not take the machine's memory from the others."""
    services_by_profile: dict[str, set[str]] = {}
    for name, service in compose["services"].items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
        (profile,) = service["profiles"]
        services_by_profile.setdefault(profile, set()).add(name)

    assert services_by_profile["infra"] == set(docker.SERVERS)
    assert services_by_profile["app"] == {*SERVICES, "migrations", "gateway"}
    assert services_by_profile["observability"] == {"prometheus", "alertmanager", "grafana", "otel-collector"}


def test_every_container_is_asked_for_its_health(compose: dict[str, Any]) -> None:
    """Migrations end, and the collector's image holds nothing that could ask."""
    without = {name for name, service in compose["services"].items() if "test" not in service.get("healthcheck", {})}

    assert without == {"migrations", "otel-collector"}


def test_every_image_names_its_version(compose: dict[str, Any]) -> None:
    """`latest` is another program every week."""
    images = [service["image"] for service in compose["services"].values() if "image" in service]

    assert all(re.search(r":v?\d+\.\d+", image) for image in images)


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
