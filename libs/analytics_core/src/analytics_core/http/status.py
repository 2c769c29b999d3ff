"""Liveness, readiness and metrics, the same in every service."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from analytics_core.lifecycle import Dependencies

STATUS_PATH = "/analytics/v1/status"


class Health(msgspec.Struct, frozen=True):
    """The process runs and its event loop turns."""

    status: str


class Readiness(msgspec.Struct, frozen=True):
    """`ready` or `not ready`, with each dependency's state: `ok`, or what is wrong with it."""

    status: str
    dependencies: dict[str, str]


@get(
    f"{STATUS_PATH}/healthz",
    opt={"public": True},
    tags=["status"],
    operation_id="getHealth",
    summary="Liveness",
    response_description="The process lives",
)
async def healthz() -> Health:
    """Answers as long as the process lives; says nothing about its dependencies, whose outage no restart mends."""
    return Health("ok")


@get(
    f"{STATUS_PATH}/readyz",
    opt={"public": True},
    tags=["status"],
    operation_id="getReadiness",
    summary="Readiness",
    response_description="Ready",
    responses={503: ResponseSpec(data_container=Readiness, description="Not ready", generate_examples=False)},
)
async def readyz(dependencies: NamedDependency[Dependencies]) -> Response[Readiness]:
    """200 when the service can do its work, 503 when a server that it needs is away."""
    states = await dependencies.states()
    ready = dependencies.is_ready(states)
    body = Readiness("ready" if ready else "not ready", {name: error or "ok" for name, error in states.items()})
    return Response(body, status_code=200 if ready else 503, headers={"Cache-Control": "no-store"})


@get("/metrics", opt={"public": True}, include_in_schema=False, sync_to_thread=False)
def metrics() -> Response[bytes]:
    """Prometheus' text format; not routed by the gateway."""
    return Response(generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})


STATUS_ROUTES: list[Any] = [healthz, readyz, metrics]
