"""What the deployment's tests need and no Python package brings: found on this machine, or fetched into the cache."""

import json
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
    return _on_path("helm") or _cached("helm", "helm", lambda place: _build(HELM_MODULE, place))


def compose_check() -> Path | None:
    """A program that checks Compose files without an engine, built from its Go module; None where there is no Go."""
    return _cached("cmd", "compose", lambda place: _build(COMPOSE_MODULE, place))


def module_file(module: str, file: str) -> Path | None:
    """A file of a Go module, such as `example.com/module@v1.2.3`; None where there is no Go."""
    name = f"{module.replace('/', '+')}+{Path(file).name}"
    return _cached(name, "modules", lambda place: _take(module, file, place / name))


def prometheus(program: str) -> Path | None:
    """`prometheus` or `promtool`, from the PATH or from Debian's package; None where neither can be had."""
    return _on_path(program) or _cached(program, "prometheus", lambda place: _unpack("prometheus", place))


def _on_path(program: str) -> Path | None:
    found = shutil.which(program)
    return Path(found) if found else None


def _cached(program: str, source: str, make: Callable[[Path], Path | None]) -> Path | None:
    """The program in the cache; `make` gets an empty folder beside it and says where in it its programs are.

    One source is made by one process at a time; another source need not wait for it. Programs appear whole.
    """
    folder = cache_folder() / "programs"
    place = folder / program
    if place.exists():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / f"{source}.lock", f"installing {source}"):
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=folder) as making:
                made = make(Path(making))
                for each in made.iterdir() if made else ():
                    each.rename(folder / each.name)
    return place if place.exists() else None


def _build(module: str, place: Path) -> Path | None:
    go = shutil.which("go")
    if go is None:
        return None
    programs = place / "bin"
    # Outside any module, so that nothing else decides about versions.
    done = subprocess.run(
        [go, "install", module],
        cwd=place,
        env={**os.environ, "GOBIN": str(programs), "GOFLAGS": "-mod=mod"},
        capture_output=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    return programs if done.returncode == 0 else None


def _take(module: str, file: str, copy: Path) -> Path | None:
    """Copy a file out of a module; Go's own checksum database says that the module is the one that everybody gets."""
    go = shutil.which("go")
    if go is None:
        return None
    done = subprocess.run(
        [go, "mod", "download", "-json", module],
        cwd=copy.parent,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        return None
    shutil.copyfile(Path(json.loads(done.stdout)["Dir"]) / file, copy)
    return copy.parent


def _unpack(package: str, place: Path) -> Path | None:
    """Fetch Debian's package and take its programs out; nothing is installed. They need no library but libc."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return None
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "download", package]):
        subprocess.run(command, cwd=place, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    packages = list(place.glob("*.deb"))
    if not packages:
        return None
    subprocess.run(["dpkg-deb", "-x", str(packages[0]), place], check=True, capture_output=True)
    return place / "usr" / "bin"
