"""The page about templates against the templates."""

import re
from pathlib import Path

import pytest

from analytics_export.ranges import Granularity
from analytics_export.templates import TEMPLATES, Template

PAGE = (Path(__file__).parents[2] / "contracts/exports/templates.md").read_text()
_ROW = re.compile(r"^\| `([a-z_]+)` \| ([a-z]+) \| [^|]+ \|$", re.MULTILINE)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda template: template.name)
def test_the_page_lists_the_columns_in_order(template: Template) -> None:
    """What a consumer programs against; by the model where the caller chooses the dimensions."""
    _, section = PAGE.split(f"## `{template.name}`, version {template.version}\n")
    group_by = ("model",) if template.group_by is None else template.group_by
    buckets = [each for each in template.granularities if each is not Granularity.EVENTS]
    columns = [*(template.columns(buckets[0], group_by) if buckets else ()), *template.event_columns]

    assert _ROW.findall(section.split("\n## ")[0]) == [(column.name, column.kind) for column in columns]


def test_every_section_is_a_template() -> None:
    """A template that was removed leaves no page behind."""
    assert re.findall(r"^## `([a-z-]+)`", PAGE, re.MULTILINE) == list(TEMPLATES)
