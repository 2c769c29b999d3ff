"""Which ports a stack listens on: one block of neighbours per stack, away from the standard ports."""

import socket
from dataclasses import dataclass, fields
from pathlib import Path

from tools.devstack.problems import StackError
from tools.devstack.progress import say

# Below Linux's ephemeral range (32768-60999), so that no outgoing connection sits on a port of ours.
FIRST_BASES = {"dev": 24600, "test": 24800}
FIRST_BASE_OF_OTHERS = 25000
BLOCK = 20
# A second clone on the same machine takes the next free block; ten clones are more than anybody runs.
CANDIDATE_BLOCKS = 10


@dataclass(frozen=True)
class Ports:
    gateway: int
    ingest: int
    rollup: int
    query_api: int
    export: int
    postgres: int
    redis: int
    amqp: int
    stream: int
    management: int
    rabbitmq_metrics: int
    erlang_distribution: int
    epmd: int
    s3: int

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Port numbers in field order, starting at `base`."""
        return cls(**{field.name: base + index for index, field in enumerate(fields(cls))})

    def by_name(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def first_base(stack_name: str) -> int:
    """Where the stack's ports begin unless something else is in the way."""
    return FIRST_BASES.get(stack_name, FIRST_BASE_OF_OTHERS)


def is_taken(port: int) -> bool:
    """True when no server could listen on 127.0.0.1:port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def taken(base: int) -> dict[str, int]:
    return {name: port for name, port in Ports.from_base(base).by_name().items() if is_taken(port)}


def choose_base(stack_name: str, requested: str | None, saved: int | None) -> int:
    """The base of a block of free ports: the requested one or nothing, else the last one, else the next free one."""
    if requested is not None:
        base = parse_base(requested)
        for name, port in taken(base).items():
            raise port_taken(name, port)
        return base
    first = first_base(stack_name)
    preferred = first if saved is None else saved
    blocked = taken(preferred)
    if not blocked:
        return preferred
    for base in range(first, first + CANDIDATE_BLOCKS * BLOCK, BLOCK):
        if not taken(base):
            name, port = next(iter(blocked.items()))
            say(f"Port {port} ({name}) is taken{_holder(port)}; using the ports from {base} instead")
            return base
    raise StackError(
        f"No free block of {BLOCK} ports found between {first} and {first + CANDIDATE_BLOCKS * BLOCK}.",
        "Choose one yourself: DEV_PORT_BASE=30000 ./tools/dev up",
    )


def parse_base(text: str) -> int:
    if text.isdecimal() and 1024 <= int(text) <= 65535 - BLOCK:
        return int(text)
    raise StackError(
        f"DEV_PORT_BASE={text!r} is not a usable port number.",
        f"Use a number from 1024 to {65535 - BLOCK}; the stack listens on the {BLOCK} ports from there.",
    )


def port_taken(name: str, port: int) -> StackError:
    return StackError(
        f"Port {port} ({name}) is taken{_holder(port)}.",
        "End that program, or choose other ports: ./tools/dev down && DEV_PORT_BASE=30000 ./tools/dev up",
    )


def _holder(port: int) -> str:
    """` by NAME (pid N)` when Linux lets us see who listens there, else an empty string."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
        except OSError:
            continue
        if inodes & links:
            return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def _listening_inodes(port: int) -> set[str]:
    """Socket links (`socket:[N]`) of the TCP sockets that listen on `port`."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rsplit(":", 1)[1], 16) == port:
                found.add(f"socket:[{columns[9]}]")
    return found
