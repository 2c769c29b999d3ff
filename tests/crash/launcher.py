"""Runs a service's console script so that it dies, freezes or misbehaves at a named point of its transactions.

    CRASH_POINT=before_commit CRASH_AFTER=3 CRASH_ACTION=kill python -m tests.crash.launcher analytics-ingest

All of it is added from outside, through the statements that the service runs: the services themselves have no such
points, so no environment variable can make one in production. This launcher refuses production as well.

Points, in the order in which a transaction passes them: of ingest `before_lease_check`, `before_cas`, `after_cas`,
`mid_copy`; of rollup `after_claim`, `before_mark`; of both `before_commit`, `after_commit`; of rollup's dimension fold
`before_dimensions_mark`. Actions: `kill` (SIGKILL), `freeze` (SIGSTOP; it goes on from there when it is thawed),
`block` (its event loop never turns again).
CRASH_SABOTAGE takes guards away, for the negative controls: see `sabotage.py`. CRASH_LIMITS makes limits of ingest
shorter, in seconds: `STALLED_AFTER=2,LAG_EVERY=0.5`.
"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from importlib.metadata import entry_points
from threading import Event
from typing import Any

from analytics_core.database import ReadSession, WriteDatabase, WriteSession
from analytics_core.sql import load_queries
from tests.crash import sabotage

ACTIONS: dict[str, Callable[[], object]] = {
    "kill": partial(os.kill, os.getpid(), signal.SIGKILL),
    "freeze": partial(os.kill, os.getpid(), signal.SIGSTOP),
    "block": Event().wait,
}
# The statement without which a transaction is none of those that the points are about.
MARKERS = {"analytics-ingest": "advance_offset", "analytics-rollup": "mark_folded"}
AROUND = {
    "advance_offset": ("before_cas", "after_cas"),
    "claim": (None, "after_claim"),
    "mark_folded": ("before_mark", None),
    "mark_dimensions_folded": ("before_dimensions_mark", None),
}


class Point:
    """Strikes when its place is passed for the n-th time."""

    def __init__(self, name: str, after: int, action: str) -> None:
        self._name = name
        self._left = after
        self._strike = ACTIONS[action]

    def reached(self, name: str | None) -> None:
        if name != self._name:
            return
        self._left -= 1
        if self._left == 0:
            os.write(1, json.dumps({"message": "crash_point", "point": name}).encode() + b"\n")
            self._strike()


def install(point: Point, script: str) -> None:
    """Put the point's places around the statements, COPY and COMMIT of the service."""
    package, topics = {
        "analytics-ingest": ("analytics_ingest", ["batches"]),
        "analytics-rollup": ("analytics_rollup", ["fold", "dimensions"]),
    }[script]
    names = {text: name for topic in topics for name, text in sabotage.statements(load_queries(package, topic)).items()}
    marked: set[int] = set()

    def wrap(owner: type, method: str) -> None:
        plain = getattr(owner, method)

        async def wrapped(session: Any, query: str, *arguments: object) -> Any:
            before, after = AROUND.get(names.get(query, ""), (None, None))
            point.reached(before)
            result = await plain(session, query, *arguments)
            if names.get(query) == MARKERS[script]:
                marked.add(id(session))
            point.reached(after)
            return result

        setattr(owner, method, wrapped)

    for method in ("fetch", "fetch_row", "fetch_value"):
        wrap(ReadSession, method)
    wrap(WriteSession, "execute")
    _install_mid_copy(point)
    _install_around_commit(point, marked)
    if script == "analytics-ingest":
        _install_before_lease_check(point)


def _install_mid_copy(point: Point) -> None:
    plain = WriteSession.copy_binary

    async def copy_binary(session: WriteSession, table: str, columns: Any, data: bytes) -> None:
        if table != "usage_events":
            return await plain(session, table, columns, data)

        async def source() -> AsyncIterator[bytes]:
            yield data[: len(data) // 2]
            point.reached("mid_copy")
            yield data[len(data) // 2 :]

        await session.connection.copy_to_table(table, source=source(), columns=list(columns), format="binary")
        return None

    WriteSession.copy_binary = copy_binary  # type: ignore[method-assign,assignment]


def _install_around_commit(point: Point, marked: set[int]) -> None:
    plain = WriteDatabase.write

    @asynccontextmanager
    async def write(database: WriteDatabase, *arguments: Any, **options: Any) -> AsyncIterator[WriteSession]:
        async with plain(database, *arguments, **options) as session:
            yield session
            is_marked = id(session) in marked
            marked.discard(id(session))
            if is_marked:
                point.reached("before_commit")
        if is_marked:
            point.reached("after_commit")

    WriteDatabase.write = write  # type: ignore[method-assign,assignment]


def _install_before_lease_check(point: Point) -> None:
    from analytics_ingest.leases import Lease

    plain = Lease.require

    def require(lease: Lease) -> None:
        # The keeper asks, too; at the start of a batch it is `persist`.
        if sys._getframe(1).f_code.co_name == "persist":
            point.reached("before_lease_check")
        plain(lease)

    Lease.require = require  # type: ignore[method-assign,assignment]


def _shorten_limits(text: str) -> None:
    """Before any module of the service has taken them over."""
    from analytics_ingest import limits

    for name, _, seconds in (entry.partition("=") for entry in text.split(",") if entry):
        assert isinstance(getattr(limits, name), timedelta)
        setattr(limits, name, timedelta(seconds=float(seconds)))


def main() -> int:
    script = sys.argv.pop(1)
    environment = os.environ
    if environment.get("ENVIRONMENT", "production") == "production":
        sys.stderr.write("the crash launcher does not run in production\n")
        return 2
    _shorten_limits(environment.get("CRASH_LIMITS", ""))
    sabotage.commit(environment.get("CRASH_SABOTAGE", ""), script)
    if "CRASH_POINT" in environment:
        after = int(environment.get("CRASH_AFTER", "1"))
        install(Point(environment["CRASH_POINT"], after, environment.get("CRASH_ACTION", "kill")), script)
    (entry,) = entry_points(group="console_scripts", name=script)
    result: int = entry.load()()
    return result


if __name__ == "__main__":
    sys.exit(main())
