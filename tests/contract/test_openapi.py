"""The HTTP contracts: what the services serve is what the repository says, and says it completely."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.openapi import APPLICATIONS, FOLDER, committed, main, path_of, served

SERVICES_FOLDER = Path(__file__).parents[2] / "services"
METHODS = {"get", "put", "post", "patch", "delete"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation with its method and path."""
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield f"{method.upper()} {path}", item[method]


def test_every_service_has_a_document() -> None:
    """A service without one would be tested by nobody."""
    assert {folder.name for folder in SERVICES_FOLDER.iterdir() if (folder / "pyproject.toml").exists()} == set(
        APPLICATIONS
    )
    assert {file.name.removesuffix(".openapi.yaml") for file in FOLDER.glob("*.yaml")} == set(APPLICATIONS)


@pytest.mark.parametrize("service", APPLICATIONS)
def test_the_served_document_is_the_committed_one(service: str) -> None:
    """A changed answer is a changed contract: it shows in the review. `just openapi` writes the files."""
    assert served(service) == committed(service)


@pytest.mark.parametrize("service", APPLICATIONS)
def test_every_operation_says_what_it_is_and_what_may_go_wrong(service: str) -> None:
    """Protected ones name the token, refusals are problem+json, and the framework's own error format is nowhere."""
    for name, operation in operations(served(service)):
        assert re.fullmatch(r"[a-z][A-Za-z]+", operation["operationId"]), name
        assert operation["summary"], name
        assert operation["description"], name
        if "{orgId}" in name:
            assert operation["security"] == [{"bearer": []}], name
            assert {"401", "403", "404", "503"} <= set(operation["responses"]), name
        if operation.get("security"):
            assert {"RateLimit-Policy", "RateLimit", "Retry-After"} <= set(operation["responses"]["429"]["headers"]), (
                name
            )
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            if operation.get("security") and int(status) < 400:
                assert {"RateLimit-Policy", "RateLimit"} <= set(response["headers"]), (name, status)
            if int(status) >= 400 and "/status/" not in name:
                assert set(response["content"]) == {"application/problem+json"}, (name, status)


def test_operation_ids_are_unique_over_all_services() -> None:
    """One generated client may hold them all; the status routes alone are the same everywhere."""
    names = [
        operation["operationId"]
        for service in APPLICATIONS
        for name, operation in operations(served(service))
        if "/status/" not in name
    ]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("operation_id", "longest"),
    [
        ("getUsage", "At most 92 days after start by hour, 400 by day, 800 by month."),
        ("getPlatformUsage", "At most 7 days after start by hour, 92 by day, 400 by month."),
        ("getErrors", "At most 400 days after start."),
        ("getDimensionValues", "At most 400 days after start."),
    ],
)
def test_the_end_of_a_range_names_the_limits_of_its_own_route(operation_id: str, longest: str) -> None:
    """A caller who goes by another route's limits is refused."""
    (ends,) = (
        [parameter["description"] for parameter in operation["parameters"] if parameter["name"] == "end"]
        for _, operation in operations(served("query-api"))
        if operation["operationId"] == operation_id
    )

    assert [text.partition("exclusive. ")[2] for text in ends] == [longest]


def test_an_outdated_file_is_reported_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that the failing comparison names must mend it."""
    folder = tmp_path / "contracts" / "http"
    folder.mkdir(parents=True)
    monkeypatch.setattr("tools.openapi.FOLDER", folder)

    assert main(["--check"]) == 1
    assert "query-api.openapi.yaml: out of date" in capsys.readouterr().out
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert path_of("query-api").read_text().startswith("openapi: 3.1.0\n")
