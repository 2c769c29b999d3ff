"""How fast rollup catches up after it stood still, while ingest goes on storing events.

Publishes at a steady rate, stops rollup for some minutes, starts it again and looks until nothing more waits than does
at that rate anyway: two seconds of events by model, and by dimension what comes during that fold's longest rest. Twice
real time means that the events of two minutes are folded in one, those that come meanwhile included; the start of the
process counts as time, too.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from analytics_rollup.limits import DIMENSION_REST_SECONDS_MAX
from tests.perf.load.account import Stretch
from tests.perf.load.platform import Platform, Progress, platform

WARM_UP_S = 5
USUAL_S = 2.0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def stop_for(stage: Platform, seconds: float) -> None:
    """Rollup is stopped while events go on coming."""
    stage.stop("rollup")
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(30.0, left))
        progress = stage.progress()
        say(f"  rollup stopped; not folded: {progress.unfolded:,}; in the stream: {progress.waiting:,}")


def wait_until_at_most(stage: Platform, backlog: str, events: float) -> float:
    """When no more than so many events wait."""

    def is_caught_up(progress: Progress) -> bool:
        return bool(getattr(progress, backlog) <= events)

    return stage.wait_until(is_caught_up).at


def bench(rate: float, minutes: float) -> dict[str, float]:
    result: dict[str, float] = {"rate": rate, "stopped_s": minutes * 60}
    with platform() as stage:
        stage.publisher.rate = rate
        time.sleep(WARM_UP_S)
        say(f"Rollup stopped for {minutes:g} minutes while {rate:,.0f} events/s are published …")
        stop_for(stage, minutes * 60)
        stretch, before, started = Stretch(stage.account), stage.progress(), time.monotonic()
        stage.start("rollup")
        for name, backlog, usual_s in (
            ("by_model", "unfolded", USUAL_S),
            ("by_dimension", "without_dimensions", DIMENSION_REST_SECONDS_MAX),
        ):
            seconds = wait_until_at_most(stage, backlog, rate * usual_s) - started
            speed = (minutes * 60 + seconds) / seconds
            say(f"  {name}: caught up after {seconds:.1f} s, {speed:.1f} times real time")
            result[f"catchup_{name}_times_real_time"] = round(speed, 2)
        span = stretch.end()
        events = stage.progress().committed - before.committed
    cores = ", ".join(f"{name} {spent / span.seconds:.2f}" for name, spent in span.spent.items())
    say(f"  meanwhile {events / span.seconds:,.0f} events/s were committed; cores: {cores}")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=15_000, help="events a second (15,000)")
    parser.add_argument("--minutes", type=float, default=3, help="how long rollup is stopped (3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    options = parser.parse_args(arguments)
    found = bench(options.rate, options.minutes)
    if options.json:
        say(json.dumps(found))


if __name__ == "__main__":
    main()
