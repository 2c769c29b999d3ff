"""The Helm charts as a cluster would get them."""

import re
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.conftest import CHARTS, VARIANTS, Helm, Manifests
from tests.support import operators
from tools.charts import settings_blocks
from tools.devstack.stack import PROJECT
from tools.settings_docs import SERVICES, settings_class

# The first run on a machine may have to build helm.
pytestmark = pytest.mark.timeout(1800)

Render = Callable[[str, str], Manifests]
EXAMPLES = ("development", "production")
EVERY = [(chart, example) for chart in CHARTS for example in EXAMPLES]


def only(manifests: Manifests, kind: str) -> dict[str, Any]:
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def pod_of(manifests: Manifests) -> dict[str, Any]:
    workload = next(each for each in manifests if each["kind"] in {"Deployment", "Job"})
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("chart", CHARTS)
def test_helm_finds_no_fault(charts: Helm, chart: str) -> None:
    for values in ((), *(("--values", f"examples/{example}/{chart}.yaml") for example in EXAMPLES)):
        done = charts.run("lint", "--strict", chart, *values)

        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("chart", "example"), EVERY)
def test_kubernetes_accepts_every_resource(rendered: Render, chart: str, example: str) -> None:
    assert_accepted(rendered(chart, example))


@pytest.mark.parametrize("chart", VARIANTS)
def test_kubernetes_accepts_variants(charts: Helm, chart: str) -> None:
    """What no example switches on has to render, too."""
    assert_accepted(charts.variant(chart))


def assert_accepted(manifests: Manifests) -> None:
    """By Kubernetes' own schemas, which do not know the resources of operators."""
    assert manifests
    for manifest in manifests:
        if manifest["kind"] not in operators.DEFINITIONS:
            kubernetes_validate.validate(manifest, "1.31", strict=True)


@pytest.mark.parametrize("service", SERVICES)
def test_values_follow_the_settings_classes(service: str) -> None:
    """In both directions: a new setting reaches the chart, a dropped one leaves it. `./tools/dev settings` mends it."""
    folder = settings_blocks.CHARTS / service

    assert (folder / "values.yaml").read_text() == settings_blocks.values_with_settings(service)
    assert (folder / "values.schema.json").read_text() == settings_blocks.values_schema(service)


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_that_a_pod_gets_is_a_setting_of_its_service(rendered: Render, service: str) -> None:
    manifests = rendered(service, "production")
    given = set(only(manifests, "ConfigMap")["data"]) | {
        each["name"] for each in pod_of(manifests)["containers"][0]["env"]
    }
    fields = {name.upper() for name in settings_class(service).model_fields}

    assert given <= fields


@pytest.mark.parametrize("service", SERVICES)
def test_an_unknown_setting_is_refused_by_name(charts: Helm, service: str) -> None:
    done = charts.run("template", service, "--set", "config.LOG_LEVLE=debug")

    assert done.returncode != 0
    assert "LOG_LEVLE" in done.stderr


def test_a_setting_without_default_has_to_be_given(charts: Helm) -> None:
    done = charts.run("template", "export")

    assert done.returncode != 0
    assert "config.S3_" in done.stderr


@pytest.mark.parametrize(("chart", "example"), [each for each in EVERY if each[0] != "observability"])
def test_pods_are_restricted(rendered: Render, chart: str, example: str) -> None:
    """PodSecurity `restricted`, a root file system nobody writes to, no token of the cluster."""
    pod = pod_of(rendered(chart, example))
    (container,) = pod["containers"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize(("chart", "example"), [each for each in EVERY if each[0] != "observability"])
def test_secrets_come_by_reference_alone(rendered: Render, chart: str, example: str) -> None:
    manifests = rendered(chart, example)
    environment = pod_of(manifests)["containers"][0]["env"]

    assert environment
    assert all(set(each) == {"name", "valueFrom"} for each in environment)
    assert {each["valueFrom"]["secretKeyRef"]["name"] for each in environment} == {f"analytics-{chart}"}
    assert not [each for each in manifests if each["kind"] == "Secret"]


@pytest.mark.parametrize("service", SERVICES)
def test_the_network_lets_in_gateway_and_prometheus_and_out_to_its_servers(rendered: Render, service: str) -> None:
    policy = only(rendered(service, "production"), "NetworkPolicy")["spec"]
    (entrance,) = policy["ingress"]
    namespaces = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in entrance["from"]]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    beside: dict[str, set[int]] = {"ingest": {5552}, "rollup": set(), "query-api": {6379}, "export": {443}}

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert namespaces == (["monitoring"] if service == "rollup" else ["gateway", "monitoring"])
    assert entrance["ports"] == [{"protocol": "TCP", "port": 8084}]
    assert all(rule["to"] for rule in policy["egress"])
    assert ports >= beside[service] | {53, 5432, 5672}


@pytest.mark.parametrize(
    ("service", "values", "server"),
    [
        ("query-api", "config.AUTH_JWKS_URL=https://login.example.com/keys", "issuer"),
        ("rollup", "config.OTEL_EXPORTER_OTLP_ENDPOINT=http://otel:4317,networkPolicy.to.otel=null", "otel"),
        (
            "export",
            "config.S3_ENDPOINT=https://s3,config.S3_BUCKET=b,config.EXPORT_WEBHOOK_HOSTS=hooks.example.com",
            "webhooks",
        ),
    ],
)
def test_a_policy_that_shuts_off_what_a_setting_names_is_refused(
    charts: Helm, service: str, values: str, server: str
) -> None:
    """Found when it renders, not when no token is accepted any more."""
    done = charts.run("template", service, "--set", values)

    assert done.returncode != 0
    assert f"networkPolicy.to.{server}" in done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_probes_ask_for_dependencies_in_readiness_alone(rendered: Render, service: str) -> None:
    """A database that is away must not restart pods."""
    (container,) = pod_of(rendered(service, "production"))["containers"]

    assert container["livenessProbe"]["httpGet"]["path"].endswith("/healthz")
    assert container["startupProbe"]["httpGet"]["path"].endswith("/healthz")
    assert container["readinessProbe"]["httpGet"]["path"].endswith("/readyz")


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_has_time_to_finish(charts: Helm, service: str) -> None:
    """preStop, then up to 20 s for what is under way, then the kill."""
    given = ("--set", "config.S3_ENDPOINT=https://s3.example.com,config.S3_BUCKET=b") if service == "export" else ()
    pod = pod_of(charts.template(service, *given, "--set", "preStopSeconds=8"))

    assert pod["terminationGracePeriodSeconds"] >= 8 + 20 + 5
    assert "sleep(8)" in pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]


def test_a_changed_setting_restarts_the_pods_and_other_values_do_not(charts: Helm) -> None:
    """Settings are read once, at start: the checksum of the ConfigMap is what makes a rollout of a change."""

    def pods(values: str) -> Any:
        return only(charts.template("rollup", "--set", values), "Deployment")["spec"]["template"]

    before = pods("config.LOG_LEVEL=info")
    assert pods("config.LOG_LEVEL=info,podDisruptionBudget.enabled=false,serviceMonitor.enabled=true") == before
    changed = pods("config.LOG_LEVEL=debug")
    assert changed["metadata"]["annotations"] != before["metadata"]["annotations"]
    assert changed["spec"] == before["spec"]


def test_two_scalers_are_refused(charts: Helm) -> None:
    switched_on = "autoscaling.enabled=true,keda.enabled=true,keda.serverAddress=http://p"
    done = charts.run("template", "query-api", "--set", switched_on)

    assert done.returncode != 0
    assert "two scalers" in done.stderr


def test_metrics_are_not_routed(rendered: Render) -> None:
    """The gateway knows the paths of the API and no other."""
    manifests = [*rendered("ingest", "production"), *rendered("export", "production")]
    routes = [each for each in manifests if each["kind"] == "HTTPRoute"]
    paths = [match["path"]["value"] for route in routes for rule in route["spec"]["rules"] for match in rule["matches"]]
    ingress = only(rendered("query-api", "production"), "Ingress")
    paths += [each["path"] for rule in ingress["spec"]["rules"] for each in rule["http"]["paths"]]

    assert len(routes) == 2
    assert all(path.startswith("^/analytics/v1/") for path in paths)


def test_every_path_of_the_api_is_routed_to_its_service_alone(charts: Helm) -> None:
    """A new route is a 404 at the gateway until the chart knows it. Every service has the status paths."""
    routed = {
        service: [re.compile(path) for path in values["route"]["paths"]]
        for service, values in ((each, chart_values(charts, each)) for each in SERVICES)
        if values.get("route")
    }
    for service in routed:
        contract = yaml.safe_load((PROJECT / "contracts" / "http" / f"{service}.openapi.yaml").read_text())
        for path in contract["paths"]:
            if "/status/" not in path:
                takers = [name for name, paths in routed.items() if any(each.search(path) for each in paths)]
                assert takers == [service], path


def chart_values(charts: Helm, chart: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((charts.folder / chart / "values.yaml").read_text())
    return values


def test_the_schema_comes_before_everything_else(rendered: Render) -> None:
    job = only(rendered("migrations", "production"), "Job")

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] == "-1"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_rules_and_dashboards_are_those_of_the_files(rendered: Render) -> None:
    manifests = rendered("observability", "production")

    assert "AnalyticsFreshnessLag" in str(only(manifests, "PrometheusRule")["spec"])
    assert only(manifests, "PrometheusRule")["spec"]["groups"]
