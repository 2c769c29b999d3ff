"""`analytics-ingest partitions`: look at partitions, and set one going again that only a person can decide about."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from analytics_core.access import PlatformAction, PlatformScope
from analytics_core.database import WriteDatabase
from analytics_core.errors import Unavailable
from analytics_core.lifecycle import EXIT_OK, Command
from analytics_ingest.operators import add_subject, allowed, operator_database
from analytics_ingest.partitions import list_gaps, list_partitions, reset, retire
from analytics_ingest.settings import Settings
from analytics_ingest.stops import resume
from analytics_ingest.stream_client import Broker, ReaderFailed
from analytics_ingest.stream_reader import ends_of
from analytics_ingest.wiring import stream_spec

CHANGES = {"resume", "reset", "retire"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, with which partition."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="WHAT")
    for verb, meaning in (("list", "positions, owners, stops"), ("gaps", "messages that were never read")):
        verbs.add_parser(verb, help=meaning).add_argument("--json", action="store_true", help="one object a line")
    resuming = verbs.add_parser("resume", help="go on after a stop: the bad messages that it saw become dead letters")
    resuming.add_argument("--partition", type=int, required=True)
    resuming.add_argument(
        "--through", type=int, metavar="OFFSET", help="bad messages up to there, too (default: those that it saw)"
    )
    moving = verbs.add_parser("reset", help="continue elsewhere, after the stream was made anew or lost its end")
    moving.add_argument("--partition", type=int, required=True)
    moving.add_argument(
        "--to", type=_target, required=True, help="first: all that the stream has; next: nothing of it; or an offset"
    )
    retiring = verbs.add_parser("retire", help="a partition that nobody reads any more holds freshness back no longer")
    retiring.add_argument("--partition", type=int, required=True)
    retiring.add_argument("--stream", help="of another stream than the configured one")
    for each in verbs.choices.values():
        add_subject(each)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when done; 1 with a line on standard error when it could not be."""
    async with operator_database(settings) as database:
        return await _run(database, settings, arguments)


async def _run(database: WriteDatabase, settings: Settings, arguments: argparse.Namespace) -> int:
    action = PlatformAction.PARTITIONS_CHANGE if arguments.verb in CHANGES else PlatformAction.PARTITIONS_READ
    given = [(name, getattr(arguments, name, None)) for name in ("stream", "partition", "to", "through")]
    command = ["partitions", arguments.verb, *(f"--{name} {value}" for name, value in given if value is not None)]
    scope = await allowed(database, settings, arguments.subject, action, " ".join(command))
    for line in await _VERBS[arguments.verb](database, scope, settings, arguments):
        sys.stdout.write(f"{line}\n")
    return EXIT_OK


async def _list(
    database: WriteDatabase, scope: PlatformScope, settings: Settings, arguments: argparse.Namespace
) -> Iterable[str]:
    rows = await list_partitions(database, scope)
    for row in rows:
        if row["stream"] == settings.rabbitmq_stream and row["partition"] < settings.rabbitmq_stream_partitions:
            with suppress(ReaderFailed):
                row["stream_first"], row["stream_next"] = await _ends(settings, row["partition"])
    return map(_json, rows) if arguments.json else map(_sentence, rows)


async def _gaps(
    database: WriteDatabase, scope: PlatformScope, _: Settings, arguments: argparse.Namespace
) -> Iterable[str]:
    rows = await list_gaps(database, scope)
    if arguments.json:
        return map(_json, rows)
    return (
        f"{row['stream']} {row['partition']}: offsets {row['first_offset']} to {row['end_offset'] - 1},"
        f" {row['reason']}, accepted after {row['after_at']} and before {row['before_at']},"
        f" noticed at {row['detected_at']}"
        for row in rows
    )


async def _resume(
    database: WriteDatabase, scope: PlatformScope, settings: Settings, arguments: argparse.Namespace
) -> Iterable[str]:
    through = await resume(database, scope, settings.rabbitmq_stream, arguments.partition, arguments.through)
    place = f"{settings.rabbitmq_stream} {arguments.partition}"
    return [f"{place}: goes on; bad messages up to offset {through} become dead letters, however many there are"]


async def _reset(
    database: WriteDatabase, scope: PlatformScope, settings: Settings, arguments: argparse.Namespace
) -> Iterable[str]:
    first, following = None, arguments.to
    if isinstance(arguments.to, str):
        try:
            first, end = await _ends(settings, arguments.partition)
        except ReaderFailed as error:
            raise Unavailable(f"the stream's ends are not known: {error}") from None
        following = first if arguments.to == "first" else end
    moved = await reset(database, scope, settings.rabbitmq_stream, arguments.partition, following, first)
    return [f"{settings.rabbitmq_stream} {arguments.partition}: was at {moved.before}, continues at {moved.now}"]


async def _retire(
    database: WriteDatabase, scope: PlatformScope, settings: Settings, arguments: argparse.Namespace
) -> Iterable[str]:
    stream = arguments.stream or settings.rabbitmq_stream
    retired_at = await retire(database, scope, stream, arguments.partition)
    return [f"{stream} {arguments.partition}: retired at {retired_at}"]


async def _ends(settings: Settings, partition: int) -> tuple[int, int]:
    broker = Broker.from_url(settings.rabbitmq_stream_url.get_secret_value())
    return await ends_of(broker, f"{settings.rabbitmq_consumer}-partitions", stream_spec(settings), partition)


def _sentence(row: Mapping[str, Any]) -> str:
    owner = f"owned by {row['owner']}" if row["is_owned"] else "no owner"
    parts = [f"{row['stream']} {row['partition']}: next offset {row['next_offset']}, {owner}"]
    if "stream_next" in row:
        parts.append(f"the stream has {row['stream_first']} to {row['stream_next'] - 1}")
    if row["stopped_because"]:
        parts.append(f"STOPPED: {row['stopped_because']}")
    if row["offsets_in_gaps"]:
        parts.append(f"{row['offsets_in_gaps']} offsets never read")
    if row["retired_at"]:
        parts.append(f"retired at {row['retired_at']}")
    return ", ".join([*parts, f"complete through {row['accepted_through'] or 'unknown'}"])


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(dict(row), default=str)


def _target(text: str) -> int | str:
    if text in {"first", "next"}:
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected first, next or an offset from 0 on, not {text!r}")
    return int(text)


_VERBS = {"list": _list, "gaps": _gaps, "resume": _resume, "reset": _reset, "retire": _retire}

PARTITIONS = Command("partitions", "Look at partitions, move one's position, retire one.", add_arguments, run)
