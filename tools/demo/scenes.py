"""What the demo shows, scene by scene; each scene that checks something says whether it holds."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from tools.demo import curl, show
from tools.demo.api import Api, Window
from tools.demo.comparison import differences, sums_by_model, sums_of_file, sums_of_point
from tools.replay.ledger import Ledger, Sums


@dataclass
class Stage:
    """What the scenes share; `failures` are the checks that did not hold."""

    console: Console
    api: Api
    ledger: Ledger
    window: Window
    failures: list[str] = field(default_factory=list)

    @property
    def busiest(self) -> str:
        """The organisation with most events."""
        return next(iter(self.ledger.by_org()))

    def check(self, statement: str, *, holds: bool) -> None:
        """Show whether a statement holds, and remember it when it does not."""
        self.console.print(show.verdict(statement, holds=holds))
        if not holds:
            self.failures.append(statement)


def published(stage: Stage) -> None:
    """What the messages were."""
    ledger = stage.ledger
    extra = ", ".join(f"{count:,} {name}" for name, count in ledger.extra_counts().items() if count)
    show.note(
        stage.console,
        f"{ledger.messages:,} messages confirmed: {ledger.events:,} events, {ledger.late:,} of them late; {extra}",
    )


async def usage(stage: Stage) -> None:
    """The busiest organisation by model."""
    show.heading(stage.console, f"Usage of the busiest organisation  [dim]{stage.busiest}")
    by_model = await stage.api.report(stage.busiest, "usage", stage.window, groupBy="model")
    hourly = await stage.api.report(stage.busiest, "usage", stage.window)
    models = sums_by_model(by_model["series"])
    stage.console.print(
        show.usage(models, sums_of_point(by_model["totals"]), [point["invocations"] for point in hourly["series"]])
    )


async def reliability(stage: Stage) -> None:
    """Error rate and latencies of the same organisation."""
    show.heading(stage.console, "Its reliability")
    models = list(stage.ledger.by_model(stage.busiest))
    whole, *each = await asyncio.gather(
        stage.api.report(stage.busiest, "reliability", stage.window),
        *(stage.api.report(stage.busiest, "reliability", stage.window, modelId=model) for model in models),
    )
    totals = {model: report["totals"] for model, report in zip(models, each, strict=True)}
    stage.console.print(show.reliability(totals, whole["totals"], whole["series"]))


async def freshness(stage: Stage, visible_after_s: float) -> None:
    """How current all of this is."""
    show.heading(stage.console, "Its freshness")
    stage.console.print(show.freshness(await stage.api.freshness(stage.busiest)))
    show.note(
        stage.console, f"[dim]All of it was visible {visible_after_s:.1f} s after the last confirm of the broker."
    )


async def proof(stage: Stage) -> None:
    """Every organisation and model, ledger against API."""
    ledger = stage.ledger
    orgs = list(ledger.by_org())
    show.heading(stage.console, f"Published against shown  [dim]all {len(orgs)} organisations")
    reports = await asyncio.gather(
        *(stage.api.report(org_id, "usage", stage.window, granularity="hour", groupBy="model") for org_id in orgs)
    )
    found = {
        (org_id, model): sums
        for org_id, report in zip(orgs, reports, strict=True)
        for model, sums in sums_by_model(report["series"]).items()
    }
    totals = sum((sums_of_point(report["totals"]) for report in reports), Sums())
    stage.console.print(show.comparison("shown (API)", differences(ledger.totals, totals)))
    published = dict(ledger.by_org_and_model)
    equal = sum(found.get(pair) == sums for pair, sums in published.items())
    stage.check(
        f"{equal:,} of {len(published):,} pairs of organisation and model: equal to the last micro-cent",
        holds=found == published and totals == ledger.totals,
    )


async def export(stage: Stage) -> str:
    """A file of the busiest organisation, through its signed URL; returns the export's id."""
    show.heading(stage.console, "An export of the busiest organisation")
    download = await stage.api.export(stage.busiest, stage.window)
    details: dict[str, Any] = download.export
    show.note(
        stage.console,
        f"CSV by hour and model: {details['rowCount']:,} rows, {len(download.content):,} bytes,"
        f" asked for, written and downloaded in {download.waited_s:.1f} s",
    )
    published = stage.ledger.by_org()[stage.busiest]
    found = sums_of_file(download.content)
    stage.console.print(show.comparison("in the file (CSV)", differences(published, found)))
    rows = download.content.count(b"\r\n") - 1
    stage.check("the file's sums are those of the ledger", holds=found == published)
    stage.check(f"its SHA-256 is the one stated: {details['checksum'][:16]}…", holds=download.is_intact)
    stage.check(f"it has {rows:,} rows", holds=rows == details["rowCount"])
    return str(details["jobId"])


def next_steps(stage: Stage, gateway_url: str, stack: str, export_id: str) -> None:
    """Commands to go on with."""
    show.heading(stage.console, "Explore further")
    model_id = next(iter(stage.ledger.by_model(stage.busiest)))
    show.commands(stage.console, curl.lines(gateway_url, stack, stage.busiest, model_id, export_id, stage.window))
