"""The documented configuration is the one that the services read."""

from tools.settings_docs import ROOT, env_example, readme_with_table, variables


def test_the_readme_lists_every_variable_as_the_services_read_it() -> None:
    """`./tools/dev settings` rewrites the table."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert readme == readme_with_table(readme)


def test_the_example_environment_is_current() -> None:
    """`./tools/dev settings` rewrites the file."""
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == env_example()


def test_every_variable_says_what_it_means() -> None:
    """A name and a default alone leave the operator guessing."""
    undescribed = [variable.name for variable in variables() if not variable.description]

    assert undescribed == []
