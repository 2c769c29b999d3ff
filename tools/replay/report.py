"""What the person at the terminal sees: a progress bar while it runs, a summary at the end."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from analytics_core.units import cents_from_microcents
from tools.replay.ledger import Ledger

BUSIEST = 5
# More than any table needs.
UNLIMITED = 1000


class Meter:
    """Shows how far a replay is; the speed is confirmed messages per second."""

    def __init__(self, progress: Progress, expected: int) -> None:
        self._progress = progress
        self._task = progress.add_task("publishing", total=expected, speed="")

    def show(self, ledger: Ledger) -> None:
        """To be called as often as one likes: rich draws ten times a second."""
        task = self._progress.tasks[0]
        speed = ledger.messages / task.elapsed if task.elapsed else 0
        self._progress.update(self._task, completed=ledger.messages, speed=f"{speed:,.0f}/s")
        if ledger.seconds and ledger.ended_early is None:
            self._progress.update(self._task, total=ledger.messages)


@contextmanager
def meter(console: Console, expected: int) -> Iterator[Meter]:
    """A progress bar for the length of the block; on something that is no terminal it appears once, at the end."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Meter(progress, expected)


def summarize(console: Console, ledger: Ledger) -> None:
    """Print the busiest organisations and the totals, as wide as they are: a cut id or number is of no use."""
    table = _summary(ledger)
    table.width = console.measure(table, options=console.options.update(max_width=UNLIMITED)).maximum
    console.print(table, crop=False)


def _summary(ledger: Ledger) -> Table:
    table = Table(title=_headline(ledger), title_justify="left", caption=_caption(ledger), caption_justify="left")
    table.add_column("organisation")
    for name in ("events", "input tokens", "output tokens", "cost in USD"):
        table.add_column(name, justify="right")
    by_org = ledger.by_org()
    rows = [*list(by_org.items())[:BUSIEST], (f"all {len(by_org)}", ledger.totals)]
    for number, (org_id, sums) in enumerate(rows):
        table.add_row(
            org_id,
            f"{sums.events:,}",
            f"{sums.input_tokens:,}",
            f"{sums.output_tokens:,}",
            f"{usd(sums.cost_microcents):,}",
            end_section=number == len(rows) - 2,
        )
    return table


def usd(microcents: int) -> Decimal:
    """Exactly, eight decimals."""
    return (cents_from_microcents(microcents) / 100).quantize(Decimal("0.00000001"))


def _headline(ledger: Ledger) -> str:
    rate = ledger.messages / ledger.seconds if ledger.seconds else 0
    confirmed = "all confirmed" if ledger.unconfirmed == 0 else f"{ledger.unconfirmed:,} more are unconfirmed"
    headline = f"{ledger.messages:,} messages to {ledger.stream} in {ledger.seconds:.1f} s ({rate:,.0f}/s), {confirmed}"
    return headline if ledger.ended_early is None else f"{headline}; ended early: {ledger.ended_early}"


def _caption(ledger: Ledger) -> str:
    extra = ", ".join(f"{count:,} {name}" for name, count in ledger.extra_counts().items())
    counts = f"{ledger.events:,} events ({ledger.late:,} late), {extra}"
    return f"{counts}\nevents from {ledger.first_occurred_at} to {ledger.last_occurred_at}"


def as_text(ledger: Ledger) -> str:
    """The ledger as JSON, one organisation a line: `jq` reads it, and so do people."""
    content = ledger.as_json()
    orgs = content.pop("orgs")
    head = json.dumps(content, indent=2).removesuffix("\n}")
    rows = ",\n".join(f"    {json.dumps(org_id)}: {json.dumps(sums)}" for org_id, sums in orgs.items())
    return f'{head},\n  "orgs": {{\n{rows}\n  }}\n}}\n'
