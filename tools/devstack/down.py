"""`down`: afterwards no process of the stack is left, whoever started it and whatever happened to it since."""

import signal

from tools.devstack import catalogue, docker, processes, reconcile
from tools.devstack.interruption import uninterrupted
from tools.devstack.ports import first_base
from tools.devstack.progress import say
from tools.devstack.rootfolder import root_folder
from tools.devstack.stack import exclusive, open_stack, saved_base, stack_folder


def down(name: str) -> None:
    """Stops everything in order; the data stay for the next `up`."""
    # Where the folder was deleted under a running stack, the ports are unknown, but its processes can still be told.
    base = saved_base(name) or first_base(name)
    with exclusive(stack_folder(name) / "lock", f"starting or stopping the {name} stack"), uninterrupted():
        if docker.is_used(name):
            docker.down(name)
            return
        stack = open_stack(name, base)
        running = processes.members(stack)
        if not running:
            say(f"{name}: nothing to stop")
            return
        say(f"Stopping {', '.join(sorted(running))} …")
        reconcile.stop_all(stack, catalogue.everything(stack, root_folder()))
        leftovers = [processes.Target(component, signal.SIGKILL, 5) for component in processes.members(stack)]
        processes.stop(stack, leftovers)
    say(f"{name}: stopped")
