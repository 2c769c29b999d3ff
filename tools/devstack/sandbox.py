"""Runs a program of the root folder: chroot inside a mount namespace of its own.

The namespace belongs to the process: its mounts vanish with it, however it ends, so nothing is ever left mounted
and nothing has to count who still uses the root folder. The folder itself is mounted read-only, since stacks and
clones share it; a program writes to its data folder (seen as /srv) and to a private /tmp and /run.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

DATA_INSIDE = "/srv"
NAMESPACE = ("unshare", "--mount", "--propagation", "private", "--")

# Positional arguments: root, data folder, hosts file, user, then the command.
_SETUP = """
set -e
root=$1 data=$2 hosts=$3 user=$4; shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$root/run"
mount --bind "$data" "$root/srv"
mount --bind "$hosts" "$root/etc/hosts"
exec chroot --userspec="$user" "$root" "$@"
"""

# The program inside must not see the caller's PYTHON*, PG* or LD_* variables.
BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": DATA_INSIDE,
}


def command(root: Path, data: Path, user: str, program: Sequence[str]) -> list[str]:
    """The command line that runs `program` as `user` in the root folder, with `data` as its /srv.

    Every step execs the next one, so the started pid is the program's own pid.
    """
    setup = ["sh", "-c", _SETUP, "sandbox"]
    return [*NAMESPACE, *setup, str(root), str(data), str(hosts_file(root)), user, *program]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {**BASE_ENVIRONMENT, **extra}


def hosts_file(root: Path) -> Path:
    """Names that programs inside can resolve: their own machine only."""
    return root.with_name(f"{root.name}.hosts")


def give_to(root: Path, user: str, *paths: Path) -> None:
    """Makes `user` of the root folder the owner of these files and folders."""
    for line in (root / "etc" / "passwd").read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        if name == user:
            for path in paths:
                os.chown(path, int(uid), int(gid))
            return
    raise LookupError(f"no user {user} in {root}/etc/passwd")
