"""What `up` starts, checks and stops: a long-running program, and a way to ask whether it is well."""

import hashlib
import json
import signal
import socket
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# Long enough for a busy two-core machine, short enough that `status` with everything dead answers in seconds.
CHECK_TIMEOUT_S = 2.0

# Checks go to this machine; a proxy in the user's environment has no part in them. The standard library's client, since
# importing httpx, redis and minio here made every command 1.5 s slower.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Component:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    url: str
    # None when it can do its work, else the reason in a few words.
    check: Callable[[], str | None]
    # Runs before the program starts: folders, configuration files.
    prepare: Callable[[], None] = lambda: None
    # Runs each time when the check has become good in an `up`.
    on_ready: Callable[[], None] = lambda: None
    needs: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    stop_patience_s: float = 15
    start_patience_s: float = 60
    # What else the running program depends on; a change restarts it.
    content: str = ""
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        text = json.dumps([self.command, dict(self.environment), dict(self.ports), self.content], sort_keys=True)
        object.__setattr__(self, "fingerprint", hashlib.sha256(text.encode()).hexdigest()[:16])


def tcp_check(port: int) -> str | None:
    """None when something accepts connections on 127.0.0.1:port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=CHECK_TIMEOUT_S):
            return None
    except OSError as error:
        return f"port {port}: {error.strerror or error}"


def http_check(
    url: str, auth: tuple[str, str] | None = None, expected: frozenset[int] = frozenset({200})
) -> str | None:
    """None when a GET of `url` answers with an expected status."""
    request = urllib.request.Request(url)
    if auth:
        request.add_header("Authorization", "Basic " + b64encode(":".join(auth).encode()).decode())
    try:
        with _OPENER.open(request, timeout=CHECK_TIMEOUT_S) as response:
            status, body = response.status, ""
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(200).decode(errors="replace")
    except OSError as error:
        return str(getattr(error, "reason", error))
    return None if status in expected else f"HTTP {status}: {body}".strip()
