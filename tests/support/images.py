"""Container images without an engine: Debian's buildah builds the Dockerfiles; what they made runs in a chroot."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.devstack import sandbox
from tools.devstack.rootfolder import cache_folder, mirror
from tools.devstack.stack import PROJECT, exclusive

# The base that the Dockerfiles name. No registry is asked for it: Debian 13's own Python 3.13 stands in.
BASE = "python:3.13-slim-trixie"
PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates"
TRUST = Path("/etc/ssl/certs/ca-certificates.crt")
BUILD_SECONDS = 900


class Images:
    """A store of images in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._environment = {
            **os.environ,
            # Copies of whole file systems are slow to make and slower to delete; every current kernel has overlays.
            "STORAGE_DRIVER": "overlay" if "overlay" in Path("/proc/filesystems").read_text() else "vfs",
            "BUILDAH_ISOLATION": "chroot",
            "XDG_RUNTIME_DIR": str(folder),
        }
        self._containers: dict[str, str] = {}
        self._scratch = folder
        self._where = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]

    def buildah(self, *arguments: str) -> str:
        """What buildah prints; AssertionError with its words when it fails."""
        done = subprocess.run(
            ["buildah", *self._where, *arguments],
            cwd=PROJECT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"buildah {' '.join(arguments)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout.strip()

    def make_base(self) -> None:
        """The base image, with this machine's certificates: its way to the package index may need them."""
        container = self.buildah("from", "scratch")
        self.buildah("add", container, str(_base_archive()), "/")
        # Debian keeps pip away from its Python; the official image, for which this stands in, has a Python of its own.
        self.buildah("run", container, "sh", "-c", "rm -f /usr/lib/python3*/EXTERNALLY-MANAGED")
        if TRUST.exists():
            self.buildah("copy", container, str(TRUST), str(TRUST))
            for variable in ("SSL_CERT_FILE", "PIP_CERT"):
                self.buildah("config", "--env", f"{variable}={TRUST}", container)
        self.buildah("commit", "--rm", container, BASE)

    def build(self, dockerfile: str, name: str) -> None:
        self.buildah("bud", "--pull-never", "--layers=false", "--file", dockerfile, "--tag", name, ".")

    def start(
        self, name: str, environment: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> "subprocess.Popen[str]":
        """The image's own entry point as its own user, as the charts run it: nothing can be written but /tmp.

        The caller ends the process.
        """
        root = self._folder(name)
        sandbox.hosts_file(root).write_text("127.0.0.1 localhost\n")
        own = dict(each.split("=", 1) for each in self.config(name, "Env"))
        nothing = self._scratch / "empty"
        nothing.mkdir(exist_ok=True)
        command = sandbox.command(root, nothing, self.user(name), [*self.config(name, "Entrypoint"), *arguments])
        return subprocess.Popen(
            command, env=own | dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def config(self, name: str, key: str) -> list[str]:
        form = f"{{{{range .OCIv1.Config.{key}}}}}{{{{.}}}}\n{{{{end}}}}"
        return self.buildah("inspect", "--type", "image", "--format", form, name).splitlines()

    def user(self, name: str) -> str:
        return self.buildah("inspect", "--type", "image", "--format", "{{.OCIv1.Config.User}}", name)

    def labels(self, name: str) -> dict[str, str]:
        form = "{{range $key, $value := .OCIv1.Config.Labels}}{{$key}}={{$value}}\n{{end}}"
        lines = self.buildah("inspect", "--type", "image", "--format", form, name).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def megabytes(self, name: str) -> float:
        """What the image adds to its base: the layers of the application."""
        files = (self._folder(name) / "app").rglob("*")
        return sum(file.lstat().st_size for file in files if not file.is_dir()) / 1e6

    def has_program(self, name: str, *programs: str) -> list[str]:
        """Those of the programs that the image has anywhere below its usual folders."""
        places = [self._folder(name) / place for place in ("app/bin", "usr/bin", "usr/local/bin", "bin")]
        return [program for program in programs if any((place / program).exists() for place in places)]

    def close(self) -> None:
        """Unmount and remove the containers, so that the store's folder can be removed."""
        self.buildah("rm", "--all")

    def _container(self, name: str) -> str:
        if name not in self._containers:
            self._containers[name] = self.buildah("from", "--pull-never", name)
        return self._containers[name]

    def _folder(self, name: str) -> Path:
        return Path(self.buildah("mount", self._container(name)))


def _base_archive() -> Path:
    """Debian's Python as a root file system, made once per user (30 s, 60 MB)."""
    archive = cache_folder() / "programs" / "python-base.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(archive.parent / "python-base.lock", "making a base image"):
        if not archive.exists():
            half = archive.with_suffix(".half.tar")
            source = f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror()} trixie main"
            command = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", str(half), source]
            subprocess.run(command, check=True, capture_output=True, timeout=BUILD_SECONDS)
            half.rename(archive)
    return archive


def missing_program() -> str | None:
    """Which program images cannot be built without; None when all are there."""
    return next((program for program in ("buildah", "mmdebstrap") if not shutil.which(program)), None)
