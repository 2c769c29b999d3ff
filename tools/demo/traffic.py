"""The demo's traffic: organisations that nobody has seen before, so that their numbers are this run's alone."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from analytics_core import clock
from tools.demo.api import Api, ApiError, Window
from tools.demo.comparison import sums_of_point
from tools.replay import report
from tools.replay.ledger import Ledger
from tools.replay.messages import Disorder
from tools.replay.pacing import Pace
from tools.replay.run import replay
from tools.replay.source import Source

EVENTS = 60_000
SPAN = timedelta(hours=24)
# Brisk, but the machine that generates is the one that stores and folds.
RATE = 8_000.0
DISORDER = Disorder(duplicates=0.01, late=0.02, invalid=0.001)
VISIBLE_PATIENCE_S = 60.0
POLL_S = 0.2


@dataclass(frozen=True)
class Traffic:
    """What to publish; without a trace it is made up."""

    trace: Path | None = None
    events: int | None = None
    rate: float = RATE
    seed: int | None = None

    def source(self) -> Source:
        """A day (or the trace) that ends now, of new organisations each time: a seed repeats the rest."""
        return Source(
            anchor=clock.now(),
            trace=self.trace,
            events=self.events if self.trace else self.events or EVENTS,
            duration=SPAN,
            seed=self.seed if self.seed is not None else time.time_ns() // 1_000_000,
            namespace=uuid4(),
            disorder=DISORDER,
        )


async def publish(traffic: Traffic, url: str, stream: str, console: Console) -> Ledger:
    """Replay with live progress. Raises as `replay` and `Source.messages` do."""
    source = traffic.source()
    expected, messages = source.messages()
    with report.meter(console, expected) as meter:
        return await replay(
            messages,
            url=url,
            stream=stream,
            seed=source.seed,
            pace=Pace(rate=traffic.rate),
            # With Docker, the broker advertises a name that only containers know.
            load_balanced=True,
            on_progress=meter.show,
        )


async def wait_until_visible(api: Api, ledger: Ledger, window: Window, console: Console) -> float:
    """Seconds until the API counts every published event, with live progress. Raises `ApiError` when it does not."""
    started = time.monotonic()
    columns = (TextColumn("[bold]visible   "), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    visible: dict[str, int] = dict.fromkeys(ledger.by_org(), 0)
    expected = {org_id: sums.events for org_id, sums in ledger.by_org().items()}
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=ledger.events)
        while waiting := [org_id for org_id in expected if visible[org_id] < expected[org_id]]:
            if time.monotonic() - started > VISIBLE_PATIENCE_S:
                shown = f"{sum(visible.values()):,} of {ledger.events:,} events"
                raise ApiError(f"after {VISIBLE_PATIENCE_S:.0f} s the API shows {shown}")
            found = await asyncio.gather(*(api.totals(org_id, window) for org_id in waiting))
            visible.update(
                {org_id: sums_of_point(totals).events for org_id, totals in zip(waiting, found, strict=True)}
            )
            progress.update(task, completed=sum(visible.values()))
            await asyncio.sleep(POLL_S if visible != expected else 0)
    return time.monotonic() - started
