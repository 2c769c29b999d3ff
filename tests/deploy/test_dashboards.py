"""The dashboards that the chart ships are those of the catalogue."""

import json

import pytest

from tools.dashboards.__main__ import FOLDER, text_of
from tools.dashboards.catalogue import DASHBOARDS


def test_no_dashboard_is_missing_or_left_over() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == DASHBOARDS.keys()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_file_is_what_the_catalogue_says(name: str) -> None:
    """`./tools/dev dashboards` writes them."""
    assert (FOLDER / f"{name}.json").read_text() == text_of(DASHBOARDS[name])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_fill_a_grid_without_overlap(name: str) -> None:
    panels = json.loads((FOLDER / f"{name}.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]

    assert len(set(places)) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
