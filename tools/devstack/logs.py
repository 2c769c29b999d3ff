"""`logs`: what the components wrote, as the system's own `tail` shows it."""

import os

from tools.devstack import docker
from tools.devstack.problems import StackError
from tools.devstack.stack import stack_folder


def show(name: str, component: str | None, *, follow: bool, lines: int) -> None:
    """Replaces this process by `tail` on the logs; raises StackError for a component that has none."""
    if docker.is_used(name):
        docker.logs(name, component, follow=follow, lines=lines)
    folder = stack_folder(name) / "logs"
    files = sorted(folder.glob("*.log"))
    if component is not None:
        files = [file for file in files if file.stem == component]
    if not files:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log")))
        raise StackError(
            f"No log of {component}." if component else f"The {name} stack has no logs.",
            f"There are: {known}" if known else "Start it: ./tools/dev up",
        )
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, files)])
