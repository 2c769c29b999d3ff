"""Which components a stack has, in the order in which they start."""

from pathlib import Path

from tools.devstack import objectstore, postgres, rabbitmq, redis
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
