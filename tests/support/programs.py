"""Programs that the deployment's tests run and that no Python package brings: found, or fetched once into the cache."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.devstack.rootfolder import cache_folder
from tools.devstack.stack import exclusive

HELM_MODULE = "helm.sh/helm/v3/cmd/helm@v3.18.6"
# The library behind `docker compose config`; its command checks a file against the Compose specification.
COMPOSE_MODULE = "github.com/compose-spec/compose-go/v2/cmd@v2.9.1"
# Building helm takes three minutes on two cores, and its modules take 300 MB below GOPATH.
BUILD_SECONDS = 1500


def helm() -> Path | None:
    """The helm of this machine, or one built from its Go module; None where there is neither helm nor Go."""
    return _on_path("helm") or _cached("helm", lambda folder: _build(HELM_MODULE, folder))


def compose_check() -> Path | None:
    """A program that checks Compose files without an engine, built from its Go module; None where there is no Go."""
    return _cached("cmd", lambda folder: _build(COMPOSE_MODULE, folder))


def prometheus(program: str) -> Path | None:
    """`prometheus` or `promtool`, from the PATH or from Debian's package; None where neither can be had."""
    return _on_path(program) or _cached(program, lambda folder: _unpack("prometheus", folder))


def alertmanager(program: str) -> Path | None:
    """`prometheus-alertmanager` or `amtool`, likewise."""
    return _on_path(program) or _cached(program, lambda folder: _unpack("prometheus-alertmanager", folder))


def _on_path(program: str) -> Path | None:
    found = shutil.which(program)
    return Path(found) if found else None


def _cached(program: str, make: Callable[[Path], bool]) -> Path | None:
    folder = cache_folder() / "programs"
    place = folder / program
    if place.exists():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "programs.lock", f"installing {program}"):
        made = place.exists() or make(folder)
    return place if made and place.exists() else None


def _build(module: str, folder: Path) -> bool:
    go = shutil.which("go")
    if go is None:
        return False
    environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
    with tempfile.TemporaryDirectory() as outside_any_module:
        done = subprocess.run(
            [go, "install", module],
            cwd=outside_any_module,
            env=environment,
            capture_output=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    return done.returncode == 0


def _unpack(package: str, folder: Path) -> bool:
    """Fetch Debian's package and take its programs out; nothing is installed. They need no library but libc."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return False
    with tempfile.TemporaryDirectory() as place:
        for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "download", package]):
            subprocess.run(command, cwd=place, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        packages = list(Path(place).glob("*.deb"))
        if not packages:
            return False
        subprocess.run(["dpkg-deb", "-x", str(packages[0]), place], check=True, capture_output=True)
        for program in (Path(place) / "usr" / "bin").iterdir():
            shutil.move(program, folder / program.name)
    return True
