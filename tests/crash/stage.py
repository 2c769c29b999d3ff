"""Ingest and rollup on places of their own, started so that they can be struck at a named point."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg

from analytics_client import UsagePublisher
from tests.crash.ledger import Ledger
from tests.integration.ingest.streaming import STREAM, IngestStage, wait_for
from tests.support.processes import ServiceProcess

LAUNCHER = "tests.crash.launcher"
LEASE = "2s"
PATIENCE_S = 120
UNFOLDED = "SELECT count(*) FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL"


@dataclass(frozen=True)
class CrashStage(IngestStage):
    """`sabotage` is the guard that this run goes without; none, unless it is a negative control."""

    sabotage: str = ""

    def launch(
        self,
        service: str,
        point: str | None = None,
        after: int = 1,
        action: str = "kill",
        without: str = "",
        **env: str,
    ) -> ServiceProcess:
        """Start `ingest` or `rollup`, to be struck when it passes the point for the `after`-th time."""
        own = {
            "ingest": {"INGESTION_LEASE": LEASE},
            "rollup": {"DATABASE_URL": self.database.dsn("analytics_rollup")},
        }[service]
        armed = {} if point is None else {"CRASH_POINT": point, "CRASH_AFTER": str(after), "CRASH_ACTION": action}
        sabotage = ",".join(filter(None, (without, self.sabotage)))
        variables = self.env(**(own | armed | {"CRASH_SABOTAGE": sabotage} | env))
        return self.processes.start(f"analytics-{service}", variables, wait=False, launcher=LAUNCHER)

    async def died(self, process: ServiceProcess, point: str) -> None:
        """Wait until it was killed at its point; AssertionError when it lives on or ends otherwise."""
        await self.until(lambda: process.exit_code is not None, f"{process.script} reaches {point}")
        assert process.exit_code == -signal.SIGKILL, process.log()[-3000:]
        assert f'"point": "{point}"' in process.log()

    async def frozen(self, process: ServiceProcess, point: str) -> None:
        """Wait until it stands still at its point."""
        await self.until(lambda: process.is_frozen, f"{process.script} freezes at {point}")
        assert f'"point": "{point}"' in process.log()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await asyncio.to_thread(wait_for, condition, what, PATIENCE_S)

    async def caught_up(self, ledger: Ledger, times: int = 1) -> None:
        """Wait until everything confirmed is committed, and nothing more can come."""
        end = ledger.confirmed
        await self.until(lambda: self.position() >= end, f"offset {end} committed")
        if times > 1:
            await self.until(lambda: self.totals()["received"] >= times * end, f"{times * end} messages received")

    async def folded(self) -> None:
        await self.until(lambda: self.value(UNFOLDED) == 0, "all batches folded")

    def position(self) -> int:
        """Where the partition is; 0 before anybody has read it."""
        return int(self.value("SELECT coalesce(max(next_offset), 0) FROM analytics.stream_offsets"))

    def create_stream(self) -> "CrashStage":
        """Producers may come before ingest, which would declare it."""
        arguments = {"x-queue-type": "stream", "x-stream-max-segment-size-bytes": 10_000_000}
        path = f"/queues/{self.rabbitmq.vhost}/{STREAM}"
        self.rabbitmq.management("PUT", path, json={"durable": True, "arguments": arguments})
        return self

    async def publish(self, ledger: Ledger, count: int) -> None:
        """Publish and have it confirmed, first by the broker and then by the ledger's disk."""
        async with UsagePublisher(self.rabbitmq.stream_url, stream=STREAM) as publisher:
            await _publish(publisher, ledger, count)

    @asynccontextmanager
    async def publishing(self, ledger: Ledger, piece: int, ahead: int) -> AsyncIterator[None]:
        """Publishes in the background for the length of the block, never more than `ahead` of what is committed."""
        stop = asyncio.Event()

        async def run() -> None:
            async with UsagePublisher(self.rabbitmq.stream_url, stream=STREAM, confirm_seconds=3) as publisher:
                while not stop.is_set():
                    if await asyncio.to_thread(self._is_behind, ledger, ahead):
                        await _publish(publisher, ledger, piece)
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            stop.set()
            await task

    def _is_behind(self, ledger: Ledger, ahead: int) -> bool:
        try:
            return ledger.confirmed < self.position() + ahead
        except psycopg.OperationalError:  # the database may be what has just been struck
            return False


async def _publish(publisher: UsagePublisher, ledger: Ledger, count: int) -> None:
    await publisher.publish_confirmed(list(ledger.bodies(count)), PATIENCE_S)
    await asyncio.to_thread(ledger.confirm)
