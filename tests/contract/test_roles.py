"""The documented roles are those that the policy knows, with what it lets them do."""

from pathlib import Path

from analytics_core.access import POLICY, Action, PlatformAction, Role

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_says_what_each_role_allows() -> None:
    """Administrators choose roles by this table."""
    section = README.read_text(encoding="utf-8").partition("### Roles\n")[2].partition("\n## ")[0]

    assert [line for line in section.splitlines() if line.startswith("| `")] == rows()


def rows() -> list[str]:
    """The table: administrators first, then one role for each action that has its own."""
    across = ", ".join(words(action) for action in PlatformAction)
    single = [action.value for action in Action if any(action.value in roles for roles in POLICY.values())]
    return [
        f"| `{Role.ADMIN}` | everything in every organisation, and for all at once: {across} |",
        f"| `{Role.ORG_ADMIN}` | everything in its organisations |",
        *(
            f"| `{role}` | {', '.join(words(action) for action in POLICY if role in POLICY[action])} |"
            for role in single
        ),
    ]


def words(action: Action | PlatformAction) -> str:
    """`analytics:usage:read` is to read usage."""
    _, what, verb = action.split(":")
    return f"{verb} {what.replace('-', ' ')}"


def test_administrators_may_what_the_table_says() -> None:
    """Everything, each in its place."""
    assert all(Role.ADMIN in roles for roles in POLICY.values())
    assert {action for action in POLICY if Role.ORG_ADMIN in POLICY[action]} == set(Action)
