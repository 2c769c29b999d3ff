"""A stream broker that stops to deliver and answers all the same, as with a dead subscription."""

from collections.abc import Callable

LENGTH_BYTES = 4
DELIVER = b"\x00\x08"
SUBSCRIPTION = 8
"""Where in a Deliver frame its subscription stands, behind length, key and version."""


class LostDeliveries:
    """Filters answers for a `FaultProxy`: `lose` makes the open connections lose chunks, later ones get theirs."""

    def __init__(self) -> None:
        self._connections: list[_Connection] = []
        self.lost = 0

    def lose(self, *subscriptions: int) -> None:
        """From now on nothing is delivered to these."""
        for connection in self._connections:
            connection.losing = frozenset(subscriptions)

    def new_filter(self) -> Callable[[bytes], bytes]:
        """For one connection, from its beginning."""
        self._connections.append(_Connection(self))
        return self._connections[-1].filter


class _Connection:
    def __init__(self, owner: LostDeliveries) -> None:
        self._owner = owner
        self._rest = b""
        self.losing: frozenset[int] = frozenset()

    def filter(self, data: bytes) -> bytes:
        """The whole frames that have come, without those that are lost."""
        self._rest += data
        passed = b""
        while len(self._rest) >= LENGTH_BYTES:
            length = LENGTH_BYTES + int.from_bytes(self._rest[:LENGTH_BYTES], "big")
            if len(self._rest) < length:
                break
            frame, self._rest = self._rest[:length], self._rest[length:]
            if frame[LENGTH_BYTES:].startswith(DELIVER) and frame[SUBSCRIPTION] in self.losing:
                self._owner.lost += 1
            else:
                passed += frame
        return passed
