"""A gate before a server: it lets so many bytes through and then holds everything until it is opened.

A test that kills a worker "in the middle of an export" needs a middle that the worker cannot run past.
"""

import socket
import threading
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


class Gate:
    """Forwards connections until `holds_after_bytes` have gone to the server, or what goes there has `holds_at` in it.

    From then on nothing moves until `open`; what is still held at the end of the block never arrives.
    """

    def __init__(self, target_port: int, holds_after_bytes: int | None = None, holds_at: bytes | None = None) -> None:
        self._target_port = target_port
        self._holds_after_bytes = holds_after_bytes
        self._holds_at = holds_at
        self._held = self._closed = False
        self._passed_bytes = 0
        self._lock = threading.Lock()
        self._reached = threading.Event()
        self._opened = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def wait_until_reached(self, patience_s: float = 60) -> None:
        """Return when the gate is holding somebody."""
        assert self._reached.wait(patience_s), f"{self._passed_bytes} bytes have come by after {patience_s} s"

    def open(self) -> None:
        """From now on everything passes, what was held first."""
        self._opened.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._opened.set()
        # Closing alone would leave the acceptor waiting, and let it take one more connection that nobody closes.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._sockets.append(client)
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:  # nobody listens there now
                client.close()
                continue
            self._sockets.append(server)
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(CHUNK_BYTES):
                if counts:
                    self._hold(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # one of the two ends is gone
            source.close()
            target.close()

    def _hold(self, data: bytes) -> None:
        with self._lock:
            self._passed_bytes += len(data)
            self._held |= self._holds_after_bytes is not None and self._passed_bytes > self._holds_after_bytes
            self._held |= self._holds_at is not None and self._holds_at in data
        if self._held and not self._opened.is_set():
            self._reached.set()
            self._opened.wait()
            if self._closed:
                raise ConnectionAbortedError
