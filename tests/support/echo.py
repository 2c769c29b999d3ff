"""A tiny upstream that answers with what it was sent."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def echo_server(name: str, port: int) -> Iterator[None]:
    """Serves on 127.0.0.1:port; answers tell server, method, path, headers (pairs) and the body's size as JSON."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            received = {
                "server": name,
                "method": self.command,
                "path": self.path,
                "headers": [[key.lower(), value] for key, value in self.headers.items()],
                "body": len(self.rfile.read(size)),
            }
            body = json.dumps(received).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 — http.server's naming

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — http.server's naming
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
