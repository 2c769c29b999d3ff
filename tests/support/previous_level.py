"""The product as it was before the newest migration, taken from the history and installed beside this checkout."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VERSIONS = "migrations/versions"
INSTALL_SECONDS = 600


@dataclass(frozen=True)
class PreviousLevel:
    """Its files, with its own Python environment in `.venv`."""

    folder: Path

    @property
    def environment(self) -> Path:
        return self.folder / ".venv"

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def knows(self, setting: str) -> bool:
        """Whether its services have this setting: they refuse to start with one that they do not know."""
        return f"{setting}=" in (self.folder / ".env.example").read_text()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` in its folder and environment."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env={"PATH": os.defpath, **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def commit_before_newest_migration(repository: Path) -> str | None:
    """What an operator upgrades from: the newest release that has some, but not all, of the checkout's migrations.

    Where no such release is tagged (`v…`), the newest such commit. None where the history does not reach back so far.
    """
    here = {f"{VERSIONS}/{file.name}" for file in (repository / VERSIONS).glob("[0-9]*.py")}
    releases = git(repository, "tag", "--merged", "HEAD", "--list", "v[0-9]*", "--sort=-creatordate") or []
    # The versions' files change in few commits: only those and their parents can be what is sought.
    changes = git(repository, "log", "--format=%H %P", "--", VERSIONS) or []
    commits = ["HEAD", *(commit for line in changes for commit in line.split())]
    return next((commit for commit in [*releases, *commits] if set() < migrations_of(repository, commit) < here), None)


def migrations_of(repository: Path, commit: str) -> set[str]:
    """The files of a commit's migrations; none where it is not in the history."""
    files = git(repository, "ls-tree", "--name-only", commit, f"{VERSIONS}/") or []
    return {file for file in files if Path(file).name[0].isdigit()}


def git(repository: Path, *arguments: str) -> list[str] | None:
    """The lines that git prints; None when it refuses, as it does outside a repository, or is not here."""
    if shutil.which("git") is None:
        return None
    # A checkout may belong to another user than the one who tests it.
    command = ["git", "-c", f"safe.directory={repository}", *arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else None


def install(repository: Path, commit: str, folder: Path) -> PreviousLevel:
    """The commit's files in `folder`, and the packages of its own lock; from uv's cache in seconds."""
    archive = folder.with_suffix(".tar")
    folder.mkdir()
    git_archive = ["git", "-c", f"safe.directory={repository}", "archive", "--output", str(archive), commit]
    subprocess.run(git_archive, cwd=repository, check=True)
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    archive.unlink()
    level = PreviousLevel(folder)
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(level.environment)}
    environment.pop("VIRTUAL_ENV", None)
    sync = [os.environ.get("UV", "uv"), "sync", "--locked", "--quiet"]
    done = subprocess.run(
        sync, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return level
