"""The stack's gateway, nginx, in front of services that a test has started."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.devstack import gateway, reconcile
from tools.devstack.ports import Ports
from tools.devstack.rootfolder import root_folder
from tools.devstack.stack import Secrets, Stack


@contextmanager
def gateway_before(ports: Ports, folder: Path) -> Iterator[str]:
    """The gateway's URL; it listens on `ports.gateway` and forwards to the services' ports, which must answer."""
    for part in ("data", "logs", "run"):
        (folder / part).mkdir(parents=True)
    stack = Stack("gateway-test", folder, ports, Secrets())
    component = gateway.component(stack, root_folder())
    try:
        reconcile.start_all(stack, [component], [])
        yield component.url
    finally:
        reconcile.stop_all(stack, [component])
