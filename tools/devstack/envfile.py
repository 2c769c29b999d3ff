"""`.dev/env`: every URL, port and credential of a stack as KEY=value lines that a shell can source."""

from collections.abc import Mapping
from pathlib import Path

from tools.devstack import objectstore, postgres, rabbitmq, redis
from tools.devstack.problems import StackError
from tools.devstack.stack import BUCKET, DATABASE_NAME, OWNER_ROLE, Stack

STREAM = "analytics.usage.v1"


def database_url(stack: Stack, role: str, database: str = DATABASE_NAME) -> str:
    password = stack.secrets.owner_password if role == OWNER_ROLE else stack.secrets.role_password
    return f"postgres://{role}:{password}@127.0.0.1:{stack.ports.postgres}/{database}"


def variables(stack: Stack) -> dict[str, str]:
    """Everything that a person, a tool or a test needs to reach this stack."""
    ports, secrets = stack.ports, stack.secrets
    broker_user = f"{rabbitmq.USER}:{secrets.rabbitmq_password}"
    return {
        "DATABASE_URL": database_url(stack, OWNER_ROLE),
        "SUPERUSER_DATABASE_URL": postgres.superuser_dsn(stack, DATABASE_NAME),
        "INGEST_DATABASE_URL": database_url(stack, "analytics_ingest"),
        "ROLLUP_DATABASE_URL": database_url(stack, "analytics_rollup"),
        "QUERY_API_DATABASE_URL": database_url(stack, "analytics_query_api"),
        "EXPORT_DATABASE_URL": database_url(stack, "analytics_export"),
        "REDIS_URL": redis.url(stack),
        "RABBITMQ_URL": f"amqp://{broker_user}@127.0.0.1:{ports.amqp}/{rabbitmq.VHOST}",
        "RABBITMQ_STREAM_URL": f"rabbitmq-stream://{broker_user}@127.0.0.1:{ports.stream}/{rabbitmq.VHOST}",
        "RABBITMQ_MANAGEMENT_URL": f"http://{broker_user}@127.0.0.1:{ports.management}",
        "RABBITMQ_STREAM": STREAM,
        "S3_ENDPOINT": objectstore.endpoint(stack),
        "S3_ACCESS_KEY": secrets.s3_access_key,
        "S3_SECRET_KEY": secrets.s3_secret_key,
        "S3_BUCKET": BUCKET,
        "S3_REGION": objectstore.REGION,
        "GATEWAY_URL": f"http://127.0.0.1:{ports.gateway}",
        "INGEST_URL": f"http://127.0.0.1:{ports.ingest}",
        "ROLLUP_URL": f"http://127.0.0.1:{ports.rollup}",
        "QUERY_API_URL": f"http://127.0.0.1:{ports.query_api}",
        "EXPORT_URL": f"http://127.0.0.1:{ports.export}",
        "AUTH_JWT_SECRET": secrets.jwt_secret,
        "ACTOR_SIGNATURE_SECRET": secrets.actor_signature_secret,
    }


def render(values: Mapping[str, str]) -> str:
    """Lines that `. .dev/env` and Docker Compose read alike; no value of ours needs quoting."""
    return "".join(f"{name}={value}\n" for name, value in values.items())


def parse(file: Path) -> dict[str, str]:
    """The variables of an env file; raises StackError where there is none."""
    if not file.exists():
        raise StackError(f"{file} does not exist: the stack was never started here.", "Start it: ./tools/dev up")
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)
