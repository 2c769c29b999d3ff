"""`analytics-rollup erase`: removes what is known of an organisation or of one of its actors."""

import argparse
import getpass
import sys
from uuid import UUID

from analytics_core.lifecycle import EXIT_FAILED, EXIT_OK, Command
from analytics_rollup.erasure import Progress, Wanted, count_events, erase
from analytics_rollup.reconcile_command import open_database
from analytics_rollup.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose events, and who asks."""
    parser.add_argument("--org", type=UUID, required=True, help="the organisation")
    parser.add_argument("--actor", help="one of its actors alone (default: the whole organisation)")
    parser.add_argument("--dry-run", action="store_true", help="count the events, change nothing")
    parser.add_argument("--requested-by", default=_user(), help="for the audit trail (default: the user's name)")


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when everything that was asked for is erased; after any failure, ask again to go on."""
    if arguments.actor == "":
        sys.stderr.write("--actor: must have a character at least\n")
        return EXIT_FAILED
    wanted = Wanted(arguments.org, arguments.actor, arguments.requested_by)
    async with open_database(settings, "erase") as database:
        if arguments.dry_run:
            sys.stdout.write(f"{await count_events(database, wanted):,} events would be erased.\n")
            return EXIT_OK
        erased = await erase(database, wanted, _report)
    sys.stdout.write(f"Erased {erased:,} events.\n")
    return EXIT_OK


def _report(progress: Progress) -> None:
    sys.stderr.write(f"{progress.day:%Y-%m-%d} done, {progress.erased_events:,} events erased so far\n")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


ERASE = Command(
    "erase",
    "Remove the events of an organisation or of one of its actors, and correct the rollups.",
    add_arguments,
    run,
)
