"""The root folder: a small Debian 13 with the servers, built once per user, shared by stacks and clones."""

import hashlib
import os
import platform
import re
import shutil
import socket
import subprocess
from pathlib import Path

from tools.devstack import sandbox
from tools.devstack.problems import StackError
from tools.devstack.progress import say, step
from tools.devstack.stack import exclusive

# Debian 12's own archive has no TimescaleDB; Debian 13's has (PostgreSQL 17, TimescaleDB 2.19 Apache edition).
SUITE = "trixie"
PACKAGES = ("postgresql-17", "postgresql-17-timescaledb", "redis-server", "rabbitmq-server", "nginx-light")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
# The finished folder takes 700 MB and the build holds the downloaded packages beside it for a moment.
BUILD_NEEDS_MB = 2000

# `dpkg` moves to a session of its own, so that killing a process group would miss it; a pid namespace misses nothing.
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--")

DOCKER_INSTEAD = (
    "Or install Docker (https://docs.docker.com/engine/install/): with an engine running, the same command uses it."
)


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "analytics-devstack"


def root_folder() -> Path:
    """Where the folder is or will be; its name changes with what it holds."""
    recipe = " ".join((SUITE, *PACKAGES))
    return cache_folder() / f"debian-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure_root_folder() -> Path:
    """Returns the finished root folder, building it first when needed; two callers at once build it once."""
    root = root_folder()
    if root.exists():
        return root
    with exclusive(cache_folder() / "build.lock", "installing the servers"):
        if not root.exists():
            _build(root)
    return root


def check_platform() -> None:
    """Raises StackError unless this machine can run the local stack: Debian or Ubuntu, as root."""
    if platform.system() != "Linux" or not shutil.which("apt-get"):
        raise StackError(
            f"No Docker engine answers, and the servers can be installed without Docker only on Debian or Ubuntu"
            f" (this is {platform.system()}).",
            "Install and start Docker (https://docs.docker.com/engine/install/), then run the same command again.",
        )
    if os.geteuid() != 0:
        raise StackError(
            "No Docker engine answers, and running the servers without Docker needs root (chroot, private mounts).",
            f"Run it as root: sudo ./tools/dev up\n{DOCKER_INSTEAD}",
        )
    if subprocess.run([*sandbox.NAMESPACE, "true"], capture_output=True, check=False).returncode != 0:
        raise StackError(
            "This root may not make mounts of its own; is it the root of a container?",
            "Start the container with --privileged (or --cap-add SYS_ADMIN --security-opt seccomp=unconfined"
            " --security-opt apparmor=unconfined), or give it access to a Docker engine.",
        )


def _build(root: Path) -> None:
    """Builds beside the final name and renames at the end, so that a half-built folder is never used."""
    _check_disk(root.parent)
    _ensure_mmdebstrap()
    for leftover in root.parent.glob("building-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    building = root.with_name(f"building-{root.name}")
    say(f"First run: installing {', '.join(PACKAGES)} (Debian {SUITE}) into {root}")
    say("The machine itself is not changed. About one minute and 700 MB.")
    try:
        with step("Installing the servers"):
            _mmdebstrap(building)
        _prepare(building)
        sandbox.hosts_file(root).write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
        building.rename(root)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _check_disk(folder: Path) -> None:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < BUILD_NEEDS_MB:
        raise StackError(
            f"Disk nearly full: {free_mb} MB free in {folder}, {BUILD_NEEDS_MB} MB needed to install the servers.",
            "Free some space, or put the cache elsewhere: XDG_CACHE_HOME=/big/disk ./tools/dev up",
        )


def _ensure_mmdebstrap() -> None:
    missing = [
        name
        for name, there in (("mmdebstrap", shutil.which("mmdebstrap")), (KEYRING.name, KEYRING.exists()))
        if not there
    ]
    if not missing:
        return
    packages = ["mmdebstrap", "debian-archive-keyring"]
    with step(f"Installing {' and '.join(packages)} with apt-get (missing: {', '.join(missing)})"):
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", "-q", *arguments],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
            )
            if done.returncode != 0:
                raise StackError(
                    f"apt-get {' '.join(arguments)} failed:\n{_last_lines(done.stderr or done.stdout)}",
                    f"Install them yourself: apt-get install {' '.join(packages)}\n{DOCKER_INSTEAD}",
                )


def _mmdebstrap(target: Path) -> None:
    """Runs mmdebstrap in namespaces of its own: when it is killed, so is all it started, and its mounts are gone."""
    source = f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main"
    build = ["mmdebstrap", "--variant=apt", f"--include={','.join(PACKAGES)}", SUITE, str(target), source]
    process = subprocess.Popen(
        [*NAMESPACES, *build],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if line.startswith("I: ") and line.rstrip().endswith("..."):
                say(f"  {line[3:].strip()}")
        if process.wait() != 0:
            raise StackError(
                f"mmdebstrap could not install the servers:\n{_last_lines(''.join(lines))}",
                f"Is {mirror()} reachable from here? Then run the same command again.\n{DOCKER_INSTEAD}",
            )
    finally:
        process.kill()
        process.wait()


def _prepare(root: Path) -> None:
    (root / "etc" / "hosts").touch()


def mirror(apt_folder: Path = Path("/etc/apt")) -> str:
    """The Debian mirror that this machine's own apt uses; Debian's address where it uses none (Ubuntu)."""
    files = [apt_folder / "sources.list", *sorted((apt_folder / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in {".list", ".sources"} or not file.is_file():
            continue
        for address in re.findall(
            r"^(?:URIs:|deb\s(?:\[[^\]]*\]\s*)?)\s*(https?://\S+)", file.read_text(), re.MULTILINE
        ):
            if re.search(r"/debian/?$", address):
                return str(address).rstrip("/")
    return DEFAULT_MIRROR


def _last_lines(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-8:])
