"""Which commit an upgrade is tested from, in histories made for it."""

import subprocess
from pathlib import Path

import pytest

from tests.support.previous_level import commit_before_newest_migration


class History:
    """A repository whose commits are made of one migration each, or of none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout.strip()

    def write(self, migration: str) -> None:
        file = self.folder / "migrations" / "versions" / f"{migration}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")

    def commit(self, migration: str | None = None) -> str:
        if migration:
            self.write(migration)
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message", migration or "other")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_it_is_the_last_commit_without_the_newest_migration(history: History) -> None:
    history.commit("0001_first")
    last = history.commit()
    history.commit("0002_second")
    history.commit()

    assert commit_before_newest_migration(history.folder) == last


def test_a_migration_that_is_not_committed_yet_counts(history: History) -> None:
    """Its author runs the test before committing."""
    history.commit("0001_first")
    history.commit()
    history.write("0002_second")

    assert commit_before_newest_migration(history.folder) == "HEAD"


def test_a_migration_that_was_renumbered_is_passed_over(history: History) -> None:
    """Two that were written side by side, until one of them gave way: a database of that hour leads nowhere."""
    last = history.commit("0001_first")
    history.commit("0002_second")
    history.commit("0002_third")
    history.git("mv", "migrations/versions/0002_second.py", "migrations/versions/0003_second.py")
    history.commit()

    assert commit_before_newest_migration(history.folder) == history.git("rev-parse", "HEAD~3")
    assert history.git("rev-parse", "HEAD~3") == last


def test_releases_come_first(history: History) -> None:
    """Operators go from release to release, over several migrations at once; the newest release may have them all."""
    history.commit("0001_first")
    history.git("tag", "v1.0.0")
    history.commit("0002_second")
    history.commit("0003_third")
    history.git("tag", "v1.1.0")

    assert commit_before_newest_migration(history.folder) == "v1.0.0"


def test_without_a_history_there_is_none(history: History) -> None:
    """A shallow clone, an unpacked archive."""
    history.commit("0001_first")
    assert commit_before_newest_migration(history.folder) is None

    history.git("checkout", "--quiet", "--orphan", "shallow")
    assert commit_before_newest_migration(history.folder) is None
