"""Redis as a cache: nothing is written to disk, and losing it costs only time."""

import socket
from pathlib import Path

from tools.devstack import sandbox
from tools.devstack.component import CHECK_TIMEOUT_S, Component
from tools.devstack.stack import Stack, write_private

# Each test session takes a logical database of its own; an empty one costs nothing.
DATABASES = 1024


def component(stack: Stack, root: Path) -> Component:
    data = stack.data("redis")
    return Component(
        name="redis",
        command=tuple(
            sandbox.command(root, data, "redis:redis", ["redis-server", f"{sandbox.DATA_INSIDE}/redis.conf"])
        ),
        environment=sandbox.environment({}),
        ports={"redis": stack.ports.redis},
        url=f"redis://127.0.0.1:{stack.ports.redis}/0",
        check=lambda: check(stack),
        prepare=lambda: _prepare(stack, root),
        start_patience_s=20,
        content=_configuration(stack),
    )


def url(stack: Stack, database: int = 0) -> str:
    return f"redis://:{stack.secrets.redis_password}@127.0.0.1:{stack.ports.redis}/{database}"


def check(stack: Stack) -> str | None:
    """Logs in and pings, in Redis's own inline protocol."""
    request = f"AUTH {stack.secrets.redis_password}\r\nPING\r\n".encode()
    expected = b"+OK\r\n+PONG\r\n"
    try:
        with socket.create_connection(("127.0.0.1", stack.ports.redis), timeout=CHECK_TIMEOUT_S) as connection:
            connection.sendall(request)
            answer = b""
            while len(answer) < len(expected) and (part := connection.recv(100)):
                answer += part
    except OSError as error:
        return str(error)
    return None if answer == expected else answer.decode(errors="replace").strip()


def _configuration(stack: Stack) -> str:
    lines = {
        "bind": "127.0.0.1",
        "port": str(stack.ports.redis),
        "requirepass": stack.secrets.redis_password,
        "databases": str(DATABASES),
        "save": '""',
        "appendonly": "no",
        "maxmemory": "256mb",
        "maxmemory-policy": "allkeys-lru",
        "daemonize": "no",
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _prepare(stack: Stack, root: Path) -> None:
    data = stack.data("redis")
    data.mkdir(exist_ok=True)
    write_private(data / "redis.conf", _configuration(stack))
    sandbox.give_to(root, "redis", data, data / "redis.conf")
