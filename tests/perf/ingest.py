"""How many events a second get from the stream into committed rows and rollups, and what each one costs.

Starts servers, ingest and rollup as processes and publishes realistic events open-model: each at its time, whatever has
become of the ones before. Without --rate it finds the highest rate at which nothing piles up. Then it stops ingest for
a minute while events go on coming, measures how fast the backlog is taken in, compares with a bare COPY of the same
rows into an identical table, and fills the table with days, and then with busier ones, to see whether an event's cost
grows with them.
"""

import argparse
import json
import os
import platform as machine
import sys
import time
from collections.abc import Sequence
from statistics import median

from tests.perf.load.account import Span, Stretch, rss_mb, total
from tests.perf.load.platform import Platform, Progress, platform
from tests.perf.load.storage import bare_copy_rate, fill_older, fill_recent, wear_in

FIRST_RATE = 20_000
STEP_UP = 1.25
PROBE_S = 15
SETTLE_S = 5
OUTAGE_S = 60
# What the last third of a run's least backlog may be more than the first third's, in seconds of events: with 0.75 a run
# of three minutes cannot fall behind by more than 0.6 %.
SWING_S = 0.75
# Rows of the whole table, a million of them in yesterday and today; and so many there, as in a table ten times as busy.
SIZES = (1_000_000, 10_000_000, 50_000_000)
BUSY = 10_000_000
ROUNDS = 5
# A fill ends with a checkpoint, and the first change of a page after one logs all of the page. At full rate that is one
# page in a hundred events (a checkpoint every 4 GB of log), but one an event right behind it: these are not measured.
WARM_UP_EVENTS_MAX = 1_000_000
SAMPLE_EVENTS = 500_000
BACKLOGS = ("waiting", "unfolded", "without_dimensions")
PRODUCT = ("ingest", "postgres for ingest", "postgres")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Run:
    """What was seen while events came at one rate."""

    def __init__(
        self,
        rate: float,
        samples: Sequence[Progress],
        span: Span,
        rss: Sequence[float],
        dimensions_per_s: float | None,
    ) -> None:
        self.rate = rate
        self.dimensions_per_s = dimensions_per_s
        self.samples = samples
        self.span = span
        self.rss = rss
        self.seconds = samples[-1].at - samples[0].at
        self.events = samples[-1].committed - samples[0].committed
        self.events_per_s = self.events / self.seconds
        self.published_per_s = (samples[-1].published - samples[0].published) / self.seconds

    def growth(self, name: str) -> float:
        """Events/s by which a backlog grew from the first third of the time to the last, by the least of each.

        A backlog rises while the dimension fold works, fifteen seconds of every forty-five, and goes down while it
        rests: what never goes down as far as before has grown. The mean would tell in which third more folds were.
        """
        third = max(1, len(self.samples) // 3)
        values = [getattr(sample, name) for sample in self.samples]
        return float(min(values[-third:]) - min(values[:third])) / (self.seconds * 2 / 3)

    @property
    def is_flat(self) -> bool:
        """Whether events came at the rate, and neither stream nor folds fell behind.

        What waits for the dimension fold swings by a minute's events, as it rests for longer than it works. It keeps up
        if it is quicker than they come while it works; of a run in which none of its folds ended that is not known.
        """
        allowed = self.rate * SWING_S / (self.seconds * 2 / 3)
        return (
            self.published_per_s > self.rate - allowed
            and max(map(self.growth, ("waiting", "unfolded"))) < allowed
            and (self.dimensions_per_s is None or self.dimensions_per_s > self.rate)
        )

    def __str__(self) -> str:
        last = self.samples[-1]
        backlogs = ", ".join(
            f"{name.replace('_', ' ')} {getattr(last, name):,} ({self.growth(name):+,.0f}/s)" for name in BACKLOGS
        )
        fold = "no dimension fold" if self.dimensions_per_s is None else f"{self.dimensions_per_s:,.0f}/s by dimension"
        return (
            f"{self.rate:,.0f}/s asked, {self.published_per_s:,.0f}/s published, {self.events_per_s:,.0f}/s committed;"
            f" {backlogs}; {fold}: {'flat' if self.is_flat else 'NOT FLAT'}"
        )


def run(stage: Platform, rate: float, seconds: float) -> Run:
    """Publish at the rate; look every second."""
    stage.publisher.rate = rate
    time.sleep(SETTLE_S)
    stretch, samples, rss = Stretch(stage.account), [stage.progress()], []
    folded = stage.dimension_fold()
    while samples[-1].at < samples[0].at + seconds:
        time.sleep(1)
        samples.append(stage.progress())
        rss.append(rss_mb(stage.services["ingest"].pid))
    return Run(rate, samples, stretch.end(), rss, stage.dimension_fold().rate_since(folded))


def drain(stage: Platform) -> float:
    """Publish nothing until everything is committed and folded; the seconds until the last commit."""
    stage.publisher.rate = 0
    started = time.monotonic()
    published = -1
    while published != (published := stage.publisher.published):
        time.sleep(0.5)
    done = stage.wait_until(lambda progress: progress.waiting <= 0)
    stage.wait_until(lambda progress: progress.unfolded == 0)
    return done.at - started


def highest_rate(stage: Platform) -> float:
    """The highest rate at which nothing piles up, to 5 %."""
    say("\nLooking for the highest rate with flat backlogs …")
    rate, best = float(FIRST_RATE), 0.0
    while True:
        probe = run(stage, rate, PROBE_S)
        say(f"  {probe}")
        if probe.is_flat:
            best, rate = rate, rate * STEP_UP
            continue
        drain(stage)
        if best and rate / best < 1.06:
            return best
        rate = (rate + best) / 2 if best else probe.events_per_s * 0.8


def sustained(stage: Platform, rate: float, minutes: float) -> Run:
    """A long run at the rate; at less when it does not hold."""
    while True:
        say(f"\nSustained: {rate:,.0f} events/s for {minutes:g} minutes …")
        result = run(stage, rate, minutes * 60)
        say(f"  {result}")
        if result.is_flat:
            return result
        drain(stage)
        rate *= 0.93


def report_cost(span: Span, events: int) -> None:
    say(f"\n  {'processor time':<24}{'cores':>8}{'µs an event':>14}")
    per_event = span.per_event_us(events)
    for name, seconds in sorted(span.spent.items(), key=lambda item: -item[1]):
        say(f"  {name:<24}{seconds / span.seconds:>8.2f}{per_event[name]:>14.2f}")
    say(f"  {'together':<24}{total(span.spent) / span.seconds:>8.2f}{total(per_event):>14.2f}")


def catch_up(stage: Platform, rate: float) -> float:
    """Events/s committed from the start of ingest until the backlog of a minute is gone; nothing comes meanwhile."""
    say(f"\nIngest stopped for {OUTAGE_S} s while {rate:,.0f} events/s are published …")
    stage.publisher.rate = rate
    stage.stop("ingest")
    time.sleep(OUTAGE_S)
    stage.publisher.rate = 0
    before = stage.progress()
    started = time.monotonic()
    stage.start("ingest")
    begun = stage.wait_until(lambda progress: progress.committed > before.committed)
    done = stage.wait_until(lambda progress: progress.waiting <= 0)
    result = (done.committed - begun.committed) / (done.at - begun.at)
    say(
        f"  {before.waiting:,} events in {done.at - started:.1f} s, of which {begun.at - started:.1f} s until the first"
        f" commit: {result:,.0f} events/s"
    )
    drain(stage)
    return result


def cost(stage: Platform, name: str, recent: int) -> float:
    """Processor time of ingest and PostgreSQL for an event, in µs, with so many rows in yesterday and today."""
    warm_up = min(WARM_UP_EVENTS_MAX, recent // 10)
    stage.publisher.rate = 200_000
    before = stage.publisher.published
    while stage.publisher.published < before + warm_up + SAMPLE_EVENTS:
        time.sleep(0.2)
    stage.publisher.rate = 0
    time.sleep(2)
    begin = stage.progress()
    stage.start("ingest")
    begun = stage.wait_until(lambda progress: progress.committed >= begin.committed + warm_up)
    stretch = Stretch(stage.account)
    done = stage.wait_until(lambda progress: progress.waiting <= 0)
    span, events = stretch.end(), done.committed - begun.committed
    stage.stop("ingest")
    found = total(span.per_event_us(events), PRODUCT)
    say(
        f"  {name:<22}{found:6.2f} µs of processor an event"
        f" ({', '.join(f'{part} {us:.2f}' for part, us in span.per_event_us(events).items() if part in PRODUCT)});"
        f" {events / (done.at - begun.at):,.0f} events/s by the clock"
    )
    return found


def flatness(small: Platform, large: Platform, rows_max: int) -> dict[str, float | None]:
    """How much more an event costs in a table of many days, and on busy days.

    Of pairs measured one after the other the median, as a machine that others use, too, changes its pace.
    """
    say("\nCost of an event as the table grows (rollup stopped, ingest working off a backlog) …")
    small.stop("ingest", "rollup")
    large.stop("ingest", "rollup")
    fewest = min(SIZES[0], rows_max)
    found: dict[str, float | None] = {"flatness_50m_over_1m": None}

    def pairs(stage: Platform, name: str, recent: int) -> float:
        ratios = []
        for _ in range(ROUNDS):
            fill_recent(small.database, fewest)
            alone = cost(small, f"{fewest:,} rows", fewest)
            fill_recent(stage.database, recent)
            ratios.append(cost(stage, name, recent) / alone)
        say(f"  {name}: {median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)}) times as much")
        return round(median(ratios), 3)

    have = fewest
    for size in (size for size in SIZES[1:] if size <= rows_max):
        seconds = fill_older(large.database, size - have, have - fewest, fewest)
        say(f"  {size - have:,} rows of the days before, as many a day: {seconds:.0f} s")
        have = size
        found["flatness_50m_over_1m"] = pairs(large, f"{size:,} rows", fewest)
    if rows_max >= BUSY:
        found["busy_days_over_quiet"] = pairs(large, f"{BUSY:,} in two days", BUSY)
    return found


def environment(stage: Platform) -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, {machine.system()} {machine.release()}, Python"
        f" {machine.python_version()}, load {os.getloadavg()[0]:.1f}; {stage.memory_pages()};"
        f" {stage.partitions} partition(s)"
    )


def bench(options: argparse.Namespace) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    with platform(options.partitions, by_org=not options.scatter) as stage:
        say(f"Environment: {environment(stage)}")
        say(f"  server worn in, its memory and log files used once, in {wear_in(stage.database):.0f} s")
        rate = options.rate or highest_rate(stage)
        held = sustained(stage, rate, options.minutes)
        report_cost(held.span, held.events)
        say(f"  memory of ingest: {held.rss[0]:.0f} MB first, {held.rss[-1]:.0f} MB last, {max(held.rss):.0f} MB most")
        drain(stage)
        caught_up = catch_up(stage, held.rate)
        rss_after = rss_mb(stage.services["ingest"].pid)
        copied = bare_copy_rate(stage.database, options.copy_rows)
        say(f"\nBare COPY into an identical table: {copied:,.0f} rows/s; ratio {held.events_per_s / copied:.2f}")
        result = {
            "sustained_events_per_s": round(held.events_per_s),
            "ratio_to_copy": round(held.events_per_s / copied, 3),
            "catchup_events_per_s": round(caught_up),
            "ingest_rss_mb_max": round(max([*held.rss, rss_after]), 1),
        }
    if options.rows:
        with platform(options.partitions) as small, platform(options.partitions) as large:
            result |= flatness(small, large, options.rows)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, help="events/s to begin with (default: the highest that holds)")
    parser.add_argument("--minutes", type=float, default=3, help="length of the sustained run (default: 3)")
    parser.add_argument("--partitions", type=int, default=1, help="partitions of the stream (default: 1)")
    parser.add_argument("--scatter", action="store_true", help="any organisation's events go to any partition")
    parser.add_argument("--copy-rows", type=int, default=1_000_000, help="rows of the bare COPY (default: 1,000,000)")
    parser.add_argument(
        "--rows", type=int, default=SIZES[-1], help="fill the table up to so many rows (default: 50,000,000; 0: do not)"
    )
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object on the last line")
    options = parser.parse_args(arguments)
    result = bench(options)
    say("")
    for name, value in result.items():
        say(f"{name:<24}{'-' if value is None else f'{value:,}':>14}")
    if options.json:
        say(json.dumps(result))


if __name__ == "__main__":
    main()
