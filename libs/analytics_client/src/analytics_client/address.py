"""The broker's address, from one URL."""

import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PLAIN_PORT = 5552
TLS_PORT = 5551


@dataclass(frozen=True)
class StreamAddress:
    """Where and as whom to connect. `load_balanced`: reach a partition's leader only through this host and port."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    tls: ssl.SSLContext | None = None
    load_balanced: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(url: str, *, tls: ssl.SSLContext | None = None, load_balanced: bool = False) -> StreamAddress:
    """`rabbitmq-stream://user:password@host:5552/vhost`, or `rabbitmq-stream+tls://…` (port 5551 by default).

    Raises `ValueError`, which does not repeat the URL: it holds a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"rabbitmq-stream", "rabbitmq-stream+tls"} or not parts.hostname:
        raise ValueError("expected a URL such as rabbitmq-stream://user:password@host:5552/vhost")
    encrypted = parts.scheme.endswith("+tls")
    return StreamAddress(
        host=parts.hostname,
        port=parts.port or (TLS_PORT if encrypted else PLAIN_PORT),
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        vhost=unquote(parts.path.removeprefix("/")) or "/",
        tls=(tls or ssl.create_default_context()) if encrypted else None,
        load_balanced=load_balanced,
    )
