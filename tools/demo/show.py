"""The demo on the terminal: headings, tables, ticks and crosses."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tools.demo.comparison import Difference
from tools.replay.ledger import Sums
from tools.replay.report import usd

BARS = "▁▂▃▄▅▆▇█"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def heading(console: Console, text: str) -> None:
    """A new part of the demo."""
    console.print()
    console.rule(f"[bold]{text}", align="left", style="dim")


def note(console: Console, text: str) -> None:
    """One line below a heading."""
    console.print(Padding(Text.from_markup(text), (0, 2)))


def usage(models: Mapping[str, Sums], total: Sums, hourly: Sequence[int]) -> Group:
    """What an organisation's administrator wants to know."""
    table = _table("model", "calls", "input", "cached", "output", "cost in USD")
    rows = [*sorted(models.items(), key=lambda item: -item[1].cost_microcents), ("all models", total)]
    for name, sums in rows:
        table.add_row(
            _short(name),
            f"{sums.events:,}",
            f"{sums.input_tokens:,}",
            f"{sums.cached_input_tokens:,}",
            f"{sums.output_tokens:,}",
            f"{usd(sums.cost_microcents):,}",
            style="bold" if name == "all models" else None,
            end_section=name == rows[-2][0],
        )
    return Group(table, _caption(f"calls per hour   {sparkline(hourly)}"))


def reliability(models: Mapping[str, Mapping[str, Any]], total: Mapping[str, Any], hourly: Sequence[Any]) -> Group:
    """What an engineer on call wants to know."""
    table = _table("model", "calls", "failed", "error rate", "p50 ms", "p95 ms", "p99 ms")
    rows = [*sorted(models.items(), key=lambda item: -item[1]["invocations"]), ("all models", total)]
    for name, totals in rows:
        latency = totals["latencyMs"]
        table.add_row(
            _short(name),
            f"{totals['invocations']:,}",
            f"{totals['invocations'] - totals['successCount']:,}",
            f"{totals['errorRate'] or 0:.2%}",
            *(f"{latency[each] or 0:,.0f}" for each in ("p50", "p95", "p99")),
            style="bold" if name == "all models" else None,
            end_section=name == rows[-2][0],
        )
    rates = [float(point["errorRate"] or 0) for point in hourly]
    worst = max(hourly, key=lambda point: point["errorRate"] or 0)
    peak = f"{max(rates):.1%} in the hour from {worst['bucketStart'][11:16]} UTC"
    return Group(table, _caption(f"failed per hour  {sparkline(rates)}  at most {peak}"))


def freshness(report: Mapping[str, Any]) -> Table:
    """What anybody wants to know before trusting a number."""
    table = Table(show_edge=False, show_header=False, pad_edge=False, box=None)
    lag = "unknown" if report["lagSeconds"] is None else f"{report['lagSeconds']} s"
    table.add_row("status", f"[bold]{report['status']}")
    table.add_row("lag", lag)
    table.add_row("everything is in that was accepted before", str(report["watermark"]))
    table.add_row("newest event", str(report["lastEventAt"]))
    table.add_row("numbers last changed", str(report["lastRollupAt"]))
    return table


def comparison(found_in: str, rows: Iterable[Difference]) -> Table:
    """Published against found, line by line."""
    table = _table("", "published (ledger)", found_in, "")
    for row in rows:
        tick = (
            Text("✔ equal", style="green") if row.is_equal else Text(f"✘ {row.found - row.published:+,}", style="red")
        )
        table.add_row(row.name.replace("_", " "), f"{row.published:,}", f"{row.found:,}", tick)
    return table


def verdict(text: str, *, holds: bool) -> Text:
    """One thing that was checked."""
    return Text(f"{'✔' if holds else '✘'} {text}", style="green" if holds else "bold red")


def commands(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    """Printed without wrapping or colour inside, so that they can be copied."""
    for purpose, line in lines:
        console.print(f"[dim]# {purpose}")
        console.print(Text(line), soft_wrap=True)


def sparkline(values: Sequence[float]) -> str:
    """One character per value, scaled to the largest."""
    top = max(values, default=0) or 1
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in values)


def _caption(text: str) -> Padding:
    return Padding(Text(text, style="dim"), (1, 0, 0, 0))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", pad_edge=False, collapse_padding=True)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _short(model_id: str) -> str:
    """Names of models as they are; a UUID by its first digits."""
    return f"{model_id[:8]}…" if _UUID.fullmatch(model_id) else model_id
