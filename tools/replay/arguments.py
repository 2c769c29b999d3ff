"""The command line of `python -m tools.replay`."""

import argparse
import os
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from analytics_client.address import parse_address
from analytics_core import clock
from analytics_core.units import parse_duration
from tools.devstack import envfile
from tools.replay.messages import Disorder
from tools.replay.pacing import Pace
from tools.replay.source import GENERATED_EVENTS, Source

ENV_FILE = Path(__file__).parents[2] / ".dev/env"
DEFAULT_STREAM = "analytics.usage.v1"

DESCRIPTION = """\
Publish usage events to the stream, from a trace or a generator, and print an exact ledger of them as JSON.

The same seed, source and times publish the same events again, which ingest then counts as duplicates:
  python -m tools.replay --ending 2026-11-01T12:00:00Z --ledger first.json
  python -m tools.replay --ending 2026-11-01T12:00:00Z --shuffle 7
"""


@dataclass(frozen=True)
class Options:
    """The whole command line, checked."""

    source: Source
    url: str
    stream: str
    partitions: int
    pace: Pace
    load_balanced: bool
    ledger: Path | None
    print_json: bool
    quiet: bool


def parse(argv: Sequence[str] | None = None) -> Options:
    """Leaves with status 2 and a message for anything that makes no sense."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.conflicts and (given.shuffle is not None or given.partitions > 1):
        parser.error("--conflicts needs an order: without one nobody knows which of two bodies comes first")
    if given.trace is not None and given.duration is not None:
        parser.error("--duration is for the generator; a trace has a duration of its own")
    return Options(
        source=Source(
            anchor=given.start or given.ending or clock.now(),
            anchor_is_start=given.start is not None,
            trace=given.trace,
            events=given.events,
            duration=given.duration or timedelta(hours=24),
            seed=given.seed,
            orgs=given.orgs,
            disorder=Disorder(given.duplicates, given.conflicts, given.late, given.invalid),
            shuffle=given.shuffle,
        ),
        url=given.url or _stack_url(parser),
        stream=given.stream,
        partitions=given.partitions,
        pace=Pace(given.rate, given.speed),
        # A broker in a container advertises a name that only containers know; the published port leads there anyway.
        load_balanced=given.load_balanced or given.url is None,
        ledger=given.ledger,
        print_json=given.json or given.ledger is None,
        quiet=given.quiet,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.replay", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what to publish")
    what.add_argument("--trace", type=Path, metavar="FILE", help="CSV in the format of the Azure LLM inference traces")
    what.add_argument(
        "--events", type=whole, metavar="N", help=f"how many (generator: {GENERATED_EVENTS:,}; trace: all)"
    )
    what.add_argument("--duration", type=_duration, metavar="D", help="time that generated events span (default 24h)")
    what.add_argument("--seed", type=int, default=1, metavar="N", help="decides all that is made up (default 1)")
    what.add_argument("--orgs", type=whole, default=25, metavar="N", help="number of organisations (default 25)")
    when = what.add_mutually_exclusive_group()
    when.add_argument("--start", type=_time, metavar="TIME", help="time of the first event: RFC 3339 or `now`")
    when.add_argument("--ending", type=_time, metavar="TIME", help="time of the last event (default `now`)")
    disorder = parser.add_argument_group("disorder, as fractions of the events (0.01 is one percent)")
    disorder.add_argument("--duplicates", type=_fraction, default=0.0, metavar="F", help="sent again, unchanged")
    disorder.add_argument("--conflicts", type=_fraction, default=0.0, metavar="F", help="sent again with other content")
    disorder.add_argument(
        "--late", type=_fraction, default=0.0, metavar="F", help="held back, up to a day of event time"
    )
    disorder.add_argument(
        "--invalid", type=_fraction, default=0.0, metavar="F", help="broken messages beside the events"
    )
    disorder.add_argument("--shuffle", type=int, metavar="SEED", help="publish everything in another order")
    pace = parser.add_argument_group("pace (default: as fast as the broker takes them)").add_mutually_exclusive_group()
    pace.add_argument("--rate", type=positive, metavar="N", help="messages per second")
    pace.add_argument("--speed", type=positive, metavar="X", help="X times as fast as the events happened")
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--url", type=_url, help="rabbitmq-stream://… (default: RABBITMQ_STREAM_URL, or the dev stack's)"
    )
    where.add_argument(
        "--stream", default=os.environ.get("RABBITMQ_STREAM", DEFAULT_STREAM), help="default %(default)s"
    )
    where.add_argument("--partitions", type=whole, default=1, metavar="N", help="for a stream that does not exist yet")
    where.add_argument("--load-balanced", action="store_true", help="reach the broker only through the URL's host")
    out = parser.add_argument_group("output")
    out.add_argument("--ledger", type=Path, metavar="FILE", help="write the ledger there in place of standard output")
    out.add_argument("--json", action="store_true", help="print the ledger even with --ledger")
    out.add_argument("--quiet", action="store_true", help="no progress, no summary")
    return parser


def _stack_url(parser: argparse.ArgumentParser) -> str:
    url = os.environ.get("RABBITMQ_STREAM_URL")
    if url is None and ENV_FILE.exists():
        url = envfile.parse(ENV_FILE)["RABBITMQ_STREAM_URL"]
    if url is None:
        parser.error("no stream: start the stack (./tools/dev up), set RABBITMQ_STREAM_URL or give --url")
    return _checked(_url, url, parser)


def _checked(convert: Callable[[str], str], text: str, parser: argparse.ArgumentParser) -> str:
    try:
        return convert(text)
    except ArgumentTypeError as error:
        parser.error(f"RABBITMQ_STREAM_URL: {error}")


def _url(text: str) -> str:
    try:
        parse_address(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _time(text: str) -> datetime:
    if text == "now":
        return clock.now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not an RFC 3339 time such as 2026-11-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} has no offset: add Z for UTC")
    return moment


def _duration(text: str) -> timedelta:
    try:
        return max(parse_duration(text), timedelta(seconds=1))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def whole(text: str) -> int:
    """For counts: 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def positive(text: str) -> float:
    """For rates and factors."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ArgumentTypeError(f"{text!r} is not a fraction from 0 to 1")
    return number
