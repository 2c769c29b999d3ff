"""`psql`: a SQL prompt on the stack's database with the client that belongs to the server."""

import os
from collections.abc import Sequence

from tools.devstack import docker, envfile, sandbox
from tools.devstack.problems import StackError
from tools.devstack.rootfolder import root_folder
from tools.devstack.stack import OWNER_ROLE, open_stack, saved_base


def run(name: str, arguments: Sequence[str]) -> None:
    """Replaces this process by psql, logged in as the schema's owner."""
    if docker.is_used(name):
        docker.psql(name, arguments)
    base = saved_base(name)
    if base is None:
        raise StackError(f"The {name} stack was never started here.", "Start it: ./tools/dev up")
    stack = open_stack(name, base)
    folder = stack.data("psql")
    folder.mkdir(exist_ok=True)
    program = ["psql", envfile.database_url(stack, OWNER_ROLE), *arguments]
    command = sandbox.command(root_folder(), folder, "root:root", program)
    terminal = {name: os.environ[name] for name in ("TERM", "COLUMNS", "LINES") if name in os.environ}
    os.execvpe(command[0], command, sandbox.environment({**terminal, "PGOPTIONS": "-c search_path=analytics,public"}))
