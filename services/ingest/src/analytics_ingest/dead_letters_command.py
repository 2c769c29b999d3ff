"""`analytics-ingest dead-letters`: what could not be stored, at the command line."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TextIO
from uuid import UUID

import msgspec

from analytics_core import clock
from analytics_core.access import PlatformAction
from analytics_core.database import WriteDatabase
from analytics_core.errors import NotFound
from analytics_core.lifecycle import EXIT_OK, Command
from analytics_ingest import dead_letter_store as store
from analytics_ingest.dead_letter_replay import Outcome, Position, Replays
from analytics_ingest.dead_letter_store import ID_MAX, DeadLetter, Filter
from analytics_ingest.event_publisher import EventPublisher, stream_publisher
from analytics_ingest.limits import DEAD_LETTERS_PAGE_DEFAULT, DEAD_LETTERS_PAGE_MAX
from analytics_ingest.operators import add_subject, allowed, operator_database
from analytics_ingest.settings import Settings

EXIT_REFUSED = 3
_DESCRIPTION = (
    "List, show and replay dead letters. Exit codes: 0 done, 1 failed (a server is away, no such dead letter),"
    f" 2 wrong usage or configuration, {EXIT_REFUSED} some dead letters were refused again."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The three verbs with their options."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="newest first", description="List dead letters, newest first.")
    _add_filter(listing)
    listing.add_argument("--replayed", choices=["yes", "no"], help="only those that were replayed, or were not")
    listing.add_argument("--limit", type=_count, default=DEAD_LETTERS_PAGE_DEFAULT, help="default: %(default)s")
    showing = verbs.add_parser("show", help="one of them, with its bytes", description="Show a dead letter.")
    showing.add_argument("id", type=_count)
    showing.add_argument("--body", action="store_true", help="write its bytes and nothing else, to correct them")
    replaying = verbs.add_parser(
        "replay",
        help="judge anew and publish what is right now",
        description="Replay one dead letter, or all that match and were not replayed. Safe to repeat: an event that"
        " arrives twice is counted once.",
    )
    which = replaying.add_mutually_exclusive_group()
    which.add_argument("id", type=_count, nargs="?", help="one dead letter")
    which.add_argument("--all", action="store_true", help="all of them; not needed with a filter")
    replaying.add_argument("--body", type=Path, metavar="FILE", help="the corrected event of the one; - is stdin")
    replaying.add_argument("--dry-run", action="store_true", help="judge, publish nothing")
    _add_filter(replaying)
    for verb in (listing, showing, replaying):
        verb.add_argument("--json", action="store_true", help="one JSON object a line")
        add_subject(verb)
    replaying.set_defaults(check=lambda arguments: _check_replay(replaying, arguments))


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Do it; the exit code is one of the description's."""
    if arguments.verb == "replay":
        arguments.check(arguments)
    verb = {"list": _list, "show": _show, "replay": _replay}[arguments.verb]
    async with operator_database(settings) as database:
        return await verb(settings, database, arguments)


async def _list(settings: Settings, database: WriteDatabase, arguments: argparse.Namespace) -> int:
    scope = await allowed(database, settings, arguments.subject, PlatformAction.DEAD_LETTERS_READ, "dead-letters list")
    replayed = {None: None, "yes": True, "no": False}[arguments.replayed]
    before, left = ID_MAX, arguments.limit
    while left:
        page = min(left, DEAD_LETTERS_PAGE_MAX)
        async with database.read() as session:
            letters = await store.newest(
                session, scope, _filter(arguments), replayed=replayed, before=before, limit=page
            )
        sys.stdout.writelines(f"{_json(each) if arguments.json else _line(each)}\n" for each in letters)
        if len(letters) < page:
            break
        before, left = letters[-1].dead_letter_id, left - page
    return EXIT_OK


async def _show(settings: Settings, database: WriteDatabase, arguments: argparse.Namespace) -> int:
    scope = await allowed(
        database, settings, arguments.subject, PlatformAction.DEAD_LETTERS_READ, f"dead-letters show {arguments.id}"
    )
    async with database.read() as session:
        found = await store.find(session, scope, arguments.id)
    if found is None:
        raise NotFound(f"there is no dead letter {arguments.id}")
    if arguments.body:
        sys.stdout.buffer.write(found.body)
        return EXIT_OK
    if arguments.json:
        sys.stdout.write(f"{_json(found.as_answer())}\n")
        return EXIT_OK
    for name, value in msgspec.to_builtins(found.letter).items():
        if name != "bodyStart":
            sys.stdout.write(f"{name:16}{'' if value is None else value}\n")
    sys.stdout.write(f"\n{_readable(found.body.decode('utf-8', 'backslashreplace'))}\n")
    return EXIT_OK


async def _replay(settings: Settings, database: WriteDatabase, arguments: argparse.Namespace) -> int:
    command = f"dead-letters replay {arguments.id or 'matching'}{' --dry-run' if arguments.dry_run else ''}"
    scope = await allowed(database, settings, arguments.subject, PlatformAction.DEAD_LETTERS_REPLAY, command)
    url = settings.rabbitmq_stream_url.get_secret_value()
    counts = dict.fromkeys(("replayed", "refused", "already_replayed"), 0)
    async with stream_publisher(url, settings.rabbitmq_stream) as publisher:
        replays = Replays(database, EventPublisher(publisher), clock.now, settings.raw_retention)
        position: Position | None = None
        while True:
            if arguments.id is not None:
                outcomes = [
                    await replays.one(
                        scope, arguments.subject, arguments.id, arguments.corrected, dry_run=arguments.dry_run
                    )
                ]
            else:
                outcomes, position = await replays.matching(
                    scope,
                    arguments.subject,
                    _filter(arguments),
                    limit=DEAD_LETTERS_PAGE_MAX,
                    position=position,
                    dry_run=arguments.dry_run,
                )
            _report(outcomes, counts, sys.stdout, as_json=arguments.json)
            if position is None:
                break
    summary = counts | {"dry_run": arguments.dry_run}
    sys.stdout.write(f"{_json(summary)}\n" if arguments.json else _summary(counts, dry_run=arguments.dry_run))
    return EXIT_REFUSED if counts["refused"] else EXIT_OK


def _report(outcomes: Sequence[Outcome], counts: dict[str, int], out: TextIO, *, as_json: bool) -> None:
    for item in outcomes:
        counts[item.outcome] += 1
        if as_json:
            out.write(f"{_json(item)}\n")
        elif item.outcome == "refused":
            place = f" {item.field}" if item.field else ""
            out.write(f"{item.dead_letter_id}: refused again: {item.reason}{place}: {_readable(item.detail or '')}\n")
        elif item.outcome == "already_replayed":
            out.write(f"{item.dead_letter_id}: was replayed before\n")


def _summary(counts: dict[str, int], *, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    return f"{counts['replayed']} {would}replayed, {counts['refused']} refused again\n"


def _check_replay(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    is_filtered = _filter(arguments) != Filter()
    if arguments.id is not None and is_filtered:
        parser.error("give an id or a filter, not both")
    if arguments.id is None and not (is_filtered or arguments.all):
        parser.error("say which: an id, a filter, or --all")
    if arguments.id is None and arguments.body is not None:
        parser.error("--body corrects one dead letter: give its id")
    try:
        arguments.corrected = None if arguments.body is None else _read(arguments.body)
    except OSError as error:
        parser.error(f"--body: cannot read {arguments.body}: {error.strerror}")


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", choices=store.REASONS, help="contracts/README.md explains them")
    parser.add_argument("--stream")
    parser.add_argument("--partition", type=int)
    parser.add_argument("--org", type=UUID, help="the organisation that the body names")
    parser.add_argument("--start", type=_time, help="dead letters from this time on, such as 2026-03-10T12:00:00Z")
    parser.add_argument("--end", type=_time, help="and before this one")


def _filter(arguments: argparse.Namespace) -> Filter:
    return Filter(
        reason=arguments.reason,
        stream=arguments.stream,
        partition=arguments.partition,
        org_id=arguments.org,
        start=arguments.start,
        end=arguments.end,
    )


def _line(letter: DeadLetter) -> str:
    place = f"{letter.stream}/{letter.partition}@{letter.offset}"
    if letter.message_index:
        place += f"[{letter.message_index}]"
    state = f"replayed by {letter.replayed_by}" if letter.replayed_at else _readable(letter.detail)
    field = f" {letter.field}" if letter.field else ""
    time = f"{letter.dead_lettered_at:%Y-%m-%dT%H:%M:%SZ}"
    return f"{letter.dead_letter_id}  {time}  {place}  {letter.reason}{field}: {state}"


def _readable(text: str) -> str:
    """Without control characters: a message may hold any, and a terminal obeys them."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _read(path: Path) -> bytes:
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number <= ID_MAX:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, not {text!r}")
    return number


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-03-10T12:00:00Z, not {text!r}") from None
    for problem in Filter(start=time).problems():
        raise argparse.ArgumentTypeError(f"{problem.detail}, such as 2026-03-10T12:00:00Z")
    return time


DEAD_LETTERS = Command("dead-letters", _DESCRIPTION, add_arguments, run)
