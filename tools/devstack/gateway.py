"""nginx in front of the services: the one address that users know."""

from pathlib import Path
from string import Template

from tools.devstack import sandbox
from tools.devstack.component import Component, http_check
from tools.devstack.stack import Stack

CONFIGURATION = Path(__file__).parent / "nginx"


def component(stack: Stack, root: Path) -> Component:
    data = stack.data("gateway")
    port = stack.ports.gateway
    frame = (CONFIGURATION / "nginx.conf").read_text()
    gateway = render(
        listen=f"127.0.0.1:{port}",
        ingest=f"127.0.0.1:{stack.ports.ingest}",
        query_api=f"127.0.0.1:{stack.ports.query_api}",
        export=f"127.0.0.1:{stack.ports.export}",
    )

    def prepare() -> None:
        data.mkdir(exist_ok=True)
        (data / "nginx.conf").write_text(frame)
        (data / "gateway.conf").write_text(gateway)

    return Component(
        name="gateway",
        command=tuple(sandbox.command(root, data, "root:root", ["nginx", "-c", f"{sandbox.DATA_INSIDE}/nginx.conf"])),
        environment=sandbox.environment({}),
        ports={"gateway": port},
        url=f"http://127.0.0.1:{port}",
        # Through to a service and back; a gateway that cannot reach any is of no use.
        check=lambda: http_check(f"http://127.0.0.1:{port}/analytics/v1/status/healthz"),
        prepare=prepare,
        needs=("query-api",),
        start_patience_s=20,
        content=frame + gateway,
    )


def render(*, listen: str, ingest: str, query_api: str, export: str) -> str:
    """The gateway's configuration for these addresses. Docker's nginx image fills the same template by itself."""
    return Template((CONFIGURATION / "gateway.conf.template").read_text()).safe_substitute(
        GATEWAY_LISTEN=listen, INGEST_ADDRESS=ingest, QUERY_API_ADDRESS=query_api, EXPORT_ADDRESS=export
    )
