"""Which components a stack has, in the order in which they start."""

from pathlib import Path

from tools.devstack import gateway, objectstore, postgres, rabbitmq, redis, services
from tools.devstack.component import Component
from tools.devstack.stack import Stack


def servers(stack: Stack, root: Path) -> list[Component]:
    """Database, broker, cache and object store; the slowest starter comes first."""
    return [
        rabbitmq.epmd(stack, root),
        rabbitmq.component(stack, root),
        postgres.component(stack, root),
        redis.component(stack, root),
        objectstore.component(stack),
    ]


def product(stack: Stack, root: Path) -> list[Component]:
    """The services and the gateway; they need the servers and a migrated database."""
    return [*(services.component(stack, each) for each in services.SERVICES), gateway.component(stack, root)]


def everything(stack: Stack, root: Path) -> list[Component]:
    return [*servers(stack, root), *product(stack, root)]
