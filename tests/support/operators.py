"""The resources of operators, held against the schemas that their CustomResourceDefinitions have in a cluster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.support.programs import module_file

GATEWAY_API = "sigs.k8s.io/gateway-api@v1.3.0"
PROMETHEUS = "github.com/prometheus-operator/prometheus-operator@v0.83.0"
KEDA = "github.com/kedacore/keda/v2@v2.17.2"
# 70 MB: the first test on a machine waits 20 s for it.
ARGO_CD = "github.com/argoproj/argo-cd/v3@v3.0.12"
# Where the Go module of each operator has the definition of a kind.
DEFINITIONS = {
    "HTTPRoute": (GATEWAY_API, "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"),
    "ServiceMonitor": (PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    "PrometheusRule": (PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    "ScaledObject": (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "ApplicationSet": (ARGO_CD, "manifests/crds/applicationset-crd.yaml"),
}


def definition(kind: str) -> Path | None:
    """The file with a kind's definition; None where there is no Go to fetch it."""
    return module_file(*DEFINITIONS[kind])


def problems(manifest: dict[str, Any], file: Path) -> Iterator[str]:
    """What an API server would refuse: types, values, missing fields; and unknown fields, which it would drop.

    Rules in CEL (`x-kubernetes-validations`) are not evaluated.
    """
    crd = yaml.safe_load(file.read_text())
    group, _, wanted = manifest["apiVersion"].partition("/")
    if (crd["spec"]["group"], crd["spec"]["names"]["kind"]) != (group, manifest["kind"]):
        yield f"{group} has no {manifest['kind']}"
    schemas = {each["name"]: each["schema"]["openAPIV3Schema"] for each in crd["spec"]["versions"] if each["served"]}
    if wanted not in schemas:
        yield f"{manifest['kind']} has no version {wanted}"
        return
    for error in jsonschema.Draft202012Validator(strict(schemas[wanted])).iter_errors(manifest):
        yield f"{error.json_path}: {error.message}"


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The same in plain JSON Schema, without room for fields that it does not name."""
    plain = {name: value for name, value in schema.items() if not name.startswith("x-kubernetes-")}
    if plain.pop("nullable", False) and "type" in plain:
        plain["type"] = [plain["type"], "null"]
    if "properties" in plain:
        plain["properties"] = {name: strict(each) for name, each in plain["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            plain.setdefault("additionalProperties", False)
    for name in ("items", "additionalProperties"):
        if isinstance(plain.get(name), dict):
            plain[name] = strict(plain[name])
    return plain
