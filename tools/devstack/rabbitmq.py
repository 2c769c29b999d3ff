"""RabbitMQ with streams, tuned for one small machine, and the epmd that its Erlang runtime needs."""

import shutil
from pathlib import Path

from tools.devstack import sandbox
from tools.devstack.component import Component, http_check, tcp_check
from tools.devstack.stack import Stack, write_private

USER = "analytics"
VHOST = "analytics"

# Erlang's schedulers spin while idle by default; on a shared machine that takes CPU from everybody else.
ERLANG_ARGUMENTS = "+sbwt none +sbwtdcpu none +sbwtdio none"


def epmd(stack: Stack, root: Path) -> Component:
    """The Erlang port mapper, one per stack on its own port, so that it ends with the stack and disturbs nobody's."""
    data = stack.data("epmd")
    return Component(
        name="epmd",
        command=tuple(
            sandbox.command(
                root, data, "rabbitmq:rabbitmq", ["epmd", "-port", str(stack.ports.epmd), "-address", "127.0.0.1"]
            )
        ),
        environment=sandbox.environment({}),
        ports={"epmd": stack.ports.epmd},
        url=f"127.0.0.1:{stack.ports.epmd}",
        check=lambda: tcp_check(stack.ports.epmd),
        prepare=lambda: data.mkdir(exist_ok=True),
        start_patience_s=20,
    )


def component(stack: Stack, root: Path) -> Component:
    ports = stack.ports
    data = stack.data("rabbitmq")
    return Component(
        name="rabbitmq",
        command=tuple(sandbox.command(root, data, "rabbitmq:rabbitmq", ["/usr/lib/rabbitmq/bin/rabbitmq-server"])),
        environment=sandbox.environment(_environment(stack)),
        ports={
            "amqp": ports.amqp,
            "stream": ports.stream,
            "management": ports.management,
            "metrics": ports.rabbitmq_metrics,
            "erlang": ports.erlang_distribution,
        },
        url=f"amqp://127.0.0.1:{ports.amqp}/{VHOST}",
        check=lambda: check(stack),
        prepare=lambda: _prepare(stack, root),
        on_ready=lambda: _booted(stack).touch(),
        needs=("epmd",),
        start_patience_s=120,
        stop_patience_s=30,
        content=_configuration(stack),
    )


def check(stack: Stack) -> str | None:
    """Well when streams are served and the user's virtual host is there; asks the management API, which starts last."""
    ports = stack.ports
    return tcp_check(ports.stream) or http_check(
        f"http://127.0.0.1:{ports.management}/api/vhosts/{VHOST}", auth=(USER, stack.secrets.rabbitmq_password)
    )


def _environment(stack: Stack) -> dict[str, str]:
    inside = sandbox.DATA_INSIDE
    return {
        # `localhost` always resolves; the machine's own name may not.
        "RABBITMQ_NODENAME": f"analytics_{stack.name}@localhost",
        "RABBITMQ_DIST_PORT": str(stack.ports.erlang_distribution),
        "ERL_EPMD_PORT": str(stack.ports.epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_MNESIA_BASE": f"{inside}/data",
        "RABBITMQ_LOG_BASE": f"{inside}/log",
        "RABBITMQ_CONFIG_FILE": f"{inside}/rabbitmq.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{inside}/advanced.config",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{inside}/enabled_plugins",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (f"{ERLANG_ARGUMENTS} -kernel inet_dist_use_interface {{127,0,0,1}}"),
        # Makes the start script exec the runtime instead of waiting for it, so that the pid we know is RabbitMQ's.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def _configuration(stack: Stack) -> str:
    ports = stack.ports
    lines = {
        "listeners.tcp.1": f"127.0.0.1:{ports.amqp}",
        "stream.listeners.tcp.1": f"127.0.0.1:{ports.stream}",
        # Stream clients connect to the address that the broker advertises, not to the one they were given.
        "stream.advertised_host": "127.0.0.1",
        "stream.advertised_port": str(ports.stream),
        "management.tcp.ip": "127.0.0.1",
        "management.tcp.port": str(ports.management),
        "prometheus.tcp.ip": "127.0.0.1",
        "prometheus.tcp.port": str(ports.rabbitmq_metrics),
        "default_user": USER,
        "default_pass": stack.secrets.rabbitmq_password,
        "default_vhost": VHOST,
        "default_user_tags.administrator": "true",
        "loopback_users.guest": "true",
        # The broker shares the machine: it slows producers down before it pushes the database out of memory.
        "vm_memory_high_watermark.absolute": "1GB",
        "disk_free_limit.absolute": "500MB",
        "log.console": "true",
        "log.console.level": "info",
        "log.file": "false",
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items())


def _booted(stack: Stack) -> Path:
    """This file says that the broker has been ready once."""
    return stack.data("rabbitmq") / "booted"


def _prepare(stack: Stack, root: Path) -> None:
    data = stack.data("rabbitmq")
    if not _booted(stack).exists():
        # RabbitMQ makes the user and the virtual host only when it finds no data at all; a first boot that was killed
        # between the two would leave it without them for good.
        shutil.rmtree(data / "data", ignore_errors=True)
    for folder in (data, data / "data", data / "log"):
        folder.mkdir(exist_ok=True)
    write_private(data / "rabbitmq.conf", _configuration(stack))
    write_private(data / "enabled_plugins", "[rabbitmq_stream,rabbitmq_management,rabbitmq_prometheus].\n")
    cookie = data / ".erlang.cookie"
    write_private(cookie, stack.secrets.erlang_cookie)
    cookie.chmod(0o400)
    sandbox.give_to(
        root, "rabbitmq", data, data / "data", data / "log", data / "rabbitmq.conf", data / "enabled_plugins", cookie
    )
