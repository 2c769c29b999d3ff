"""The four services as this checkout has them, run from the locked Python environment."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.devstack import envfile, objectstore
from tools.devstack.component import Component, http_check
from tools.devstack.stack import PROJECT, Stack

READY_PATH = "/analytics/v1/status/readyz"


@dataclass(frozen=True)
class Service:
    """`folder` below services/, which also names the console script; what it is given beside database and broker."""

    folder: str
    role: str
    answers_users: bool
    extra: frozenset[str]


SERVICES = (
    Service("ingest", "analytics_ingest", True, frozenset({"RABBITMQ_STREAM_URL", "RABBITMQ_STREAM", "REDIS_URL"})),
    Service("rollup", "analytics_rollup", False, frozenset()),
    Service("query-api", "analytics_query_api", True, frozenset({"REDIS_URL"})),
    Service(
        "export",
        "analytics_export",
        True,
        frozenset({"S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET", "S3_REGION", "REDIS_URL"}),
    ),
)
IDENTITY = frozenset({"AUTH_JWT_SECRET", "ACTOR_SIGNATURE_SECRET"})


def component(stack: Stack, service: Service) -> Component:
    port = stack.ports.by_name()[service.folder.replace("-", "_")]
    script = f"analytics-{service.folder}"
    return Component(
        name=service.folder,
        command=(str(objectstore.venv_program(script)),),
        environment={
            **environment(stack, service),
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(port),
            # Nothing of the caller's environment: the same `up` gives the same service in every shell.
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.defpath}",
            "HOME": str(stack.folder),
            "LANG": "C.UTF-8",
            # A log line must be in the file when the process is killed a moment later.
            "PYTHONUNBUFFERED": "1",
        },
        ports={service.folder: port},
        url=f"http://127.0.0.1:{port}",
        check=lambda: http_check(f"http://127.0.0.1:{port}{READY_PATH}"),
        needs=("rabbitmq", "postgres", "redis", "s3"),
        stop_patience_s=25,
        content=_sources_digest(service.folder),
    )


def environment(stack: Stack, service: Service) -> dict[str, str]:
    """What the service reads from its environment, apart from where it listens."""
    known = envfile.variables(stack)
    wanted = service.extra | (IDENTITY if service.answers_users else frozenset())
    return {
        "SERVICE_NAME": f"analytics-{service.folder}",
        "ENVIRONMENT": "development",
        "LOG_LEVEL": "info",
        "DATABASE_URL": envfile.database_url(stack, service.role),
        "RABBITMQ_URL": known["RABBITMQ_URL"],
        **{name: known[name] for name in sorted(wanted)},
    }


def _sources_digest(folder: str) -> str:
    """Changes when the service's code changes, so that `up` restarts exactly the services that were edited."""
    digest = hashlib.sha256((PROJECT / "uv.lock").read_bytes())
    for place in (PROJECT / "libs", PROJECT / "services" / folder):
        for file in sorted(place.rglob("src/**/*")):
            if file.suffix in {".py", ".sql", ".json", ".yaml"}:
                digest.update(str(file).encode() + file.read_bytes())
    return digest.hexdigest()
