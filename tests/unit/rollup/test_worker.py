"""What a worker does after a fold, and after a failure."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import count
from typing import Any

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from analytics_core import clock
from analytics_core.lifecycle import Backoff
from analytics_core.messages import RollupCompleted
from analytics_core.testing.builders import ORG_ID
from analytics_rollup import attempts, worker
from analytics_rollup.fold import Claim, Fold, NotFoldable
from analytics_rollup.worker import Folder

Step = Fold | Exception | None


class Silence:
    """Wake-ups that reach nobody, kept for the test to look at."""

    def __init__(self) -> None:
        self.batches_wait = asyncio.Event()
        self.announced: list[RollupCompleted] = []

    async def announce(self, message: RollupCompleted) -> None:
        self.announced.append(message)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Claim]]:
    """Folds turn out as scripted, then there is nothing to do; gives the claims that were made."""

    def play(*steps: Step) -> list[Claim]:
        remaining, claims = list(steps), []

        async def fold(_: object, claim: Claim) -> Fold | None:
            claims.append(claim)
            step = remaining.pop(0) if remaining else None
            if isinstance(step, Exception):
                raise step
            return step

        monkeypatch.setattr(worker, "MODELS", replace(worker.MODELS, fold=fold))
        monkeypatch.setattr(Backoff, "next_seconds", lambda _: 0.0)
        return claims

    return play


async def run(job: Callable[[asyncio.Event], Coroutine[Any, Any, None]], until: Callable[[], object]) -> None:
    """Run a worker's loop until something is true, then stop it."""
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        working = group.create_task(job(stop))
        while not until():  # noqa: ASYNC110 — conditions of all kinds, within 10 s
            await asyncio.sleep(0.001)
        stop.set()
        working.cancel()


def failures(reason: str) -> float:
    return REGISTRY.get_sample_value("analytics_rollup_fold_failures_total", {"reason": reason}) or 0.0


def folder(wake_ups: Silence) -> Folder:
    database: Any = None
    listener: Any = wake_ups
    return Folder(database, listener, clock.now)


@pytest.mark.parametrize(
    ("error", "reason", "level"),
    [
        (asyncpg.DeadlockDetectedError("two folds met"), "contended", "info"),
        (asyncpg.QueryCanceledError("statement timeout"), "contended", "info"),
        (ConnectionRefusedError("away"), "unreachable", "debug"),
        (asyncpg.AdminShutdownError("terminated"), "unreachable", "debug"),
        (asyncpg.InsufficientPrivilegeError("no right"), "refused", "error"),
        (asyncpg.UndefinedTableError("not migrated"), "refused", "error"),
    ],
)
async def test_a_failed_fold_is_tried_again(
    script: Callable[..., list[Claim]], error: Exception, reason: str, level: str
) -> None:
    """Counted by what is to be done about it; only what needs a person is an error in the log."""
    claims = script(error, Fold([1], 10, [ORG_ID], more=False))
    wake_ups = Silence()
    before = failures(reason)
    with capture_logs() as lines:
        await run(folder(wake_ups).work, lambda: wake_ups.announced)
        wake_ups.batches_wait.set()

    assert claims[:2] == [Claim(), Claim()]
    assert failures(reason) == before + 1
    assert lines[0]["log_level"] == level


async def test_batches_that_cannot_be_folded_are_tried_alone_at_once(script: Callable[..., list[Claim]]) -> None:
    """No second is lost for the innocent ones."""
    claims = script(NotFoldable([1, 2], "data"), NotFoldable([1], "data"), Fold([2], 10, [ORG_ID], more=False))
    wake_ups = Silence()
    await run(folder(wake_ups).work, lambda: len(claims) >= 4)

    assert claims[:4] == [Claim(), Claim(alone=1), Claim(alone=2), Claim(without=frozenset({1}))]
    assert [message.folded_batches for message in wake_ups.announced] == [1]


async def test_folds_that_did_something_or_failed_are_traced(
    script: Callable[..., list[Claim]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for batches in vain every second would bury them; what a failed one logs has its trace."""
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    monkeypatch.setattr(attempts, "tracer", provider.get_tracer("test"))
    claims = script(None, ConnectionRefusedError("away"), Fold([1], 10, [ORG_ID], more=True), None)
    wake_ups = Silence()
    wake_ups.batches_wait.set()
    await run(folder(wake_ups).work, lambda: wake_ups.batches_wait.set() or len(claims) >= 5)  # type: ignore[func-returns-value]

    failed, done = exported.get_finished_spans()
    assert (failed.status.status_code, failed.events[0].name) == (StatusCode.ERROR, "exception")
    assert (done.status.status_code, dict(done.attributes or {})["messaging.batch.message_count"]) == (
        StatusCode.UNSET,
        10,
    )


async def test_helpers_fold_only_while_there_is_a_backlog(script: Callable[..., list[Claim]]) -> None:
    """A second worker on the same hot buckets would only wait for the first."""
    claims = script(Fold([1], 10, None, more=True), Fold([2], 10, None, more=False))
    wake_ups = Silence()
    workers = folder(wake_ups)
    helping = asyncio.create_task(workers.help(asyncio.Event()))
    await asyncio.sleep(0.01)
    idle = list(claims)
    await run(workers.work, lambda: len(wake_ups.announced) == 2)
    helping.cancel()

    assert idle == []
    assert {message.org_ids is None for message in wake_ups.announced} == {True}


@pytest.mark.parametrize(("worked_s", "rest_s"), [(0.1, 0.4), (5.0, 1.2)])
async def test_a_worker_rests_after_a_small_fold(
    script: Callable[..., list[Claim]], monkeypatch: pytest.MonkeyPatch, worked_s: float, rest_s: float
) -> None:
    """Four times as long as it worked, so that small folds take a fifth of a processor at most; never for too long."""
    rests: list[float] = []

    async def note(_: asyncio.Event, seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(worker, "sleep_unless_stopped", note)
    monkeypatch.setattr(worker, "perf_counter", count(step=worked_s).__next__)
    script(Fold([1], 10, [], more=True), Fold([2], 10, [], more=False))
    wake_ups = Silence()
    await run(folder(wake_ups).work, lambda: len(wake_ups.announced) == 2 and rests)

    assert rests == [pytest.approx(rest_s)]
