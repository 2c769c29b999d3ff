"""Named statements: found by name, each once."""

import sys
from pathlib import Path

import pytest

from analytics_core.sql import load_queries


def package_with(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable package whose sql/topic.sql has this text."""
    name = f"package_{folder.name}"
    (folder / name / "sql").mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    (folder / name / "sql" / "topic.sql").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_statements_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the comment that says why, up to the next name."""
    text = "Text before the first name is for people.\n-- one --\n-- Why.\nSELECT 1\n\n-- two --\nSELECT -- two\n2\n"
    queries = load_queries(package_with(tmp_path, text, monkeypatch), "topic")

    assert dict(queries) == {"one": "-- Why.\nSELECT 1", "two": "SELECT -- two\n2"}


def test_a_name_given_twice_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one would hide the first."""
    package = package_with(tmp_path, "-- one --\nSELECT 1\n-- one --\nSELECT 2\n", monkeypatch)
    with pytest.raises(ValueError, match="names a statement twice"):
        load_queries(package, "topic")


def test_the_collection_cannot_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's statements are constants."""
    queries = load_queries(package_with(tmp_path, "-- one --\nSELECT 1\n", monkeypatch), "topic")
    with pytest.raises(TypeError):
        queries["one"] = "SELECT 2"  # type: ignore[index]
