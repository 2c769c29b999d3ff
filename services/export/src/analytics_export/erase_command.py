"""`analytics-export erase`: removes the exported files of an organisation, or those that may name one of its actors."""

import argparse
import getpass
import sys
from uuid import UUID

from analytics_core.access import scope_for_accepted_job
from analytics_core.database import WriteDatabase
from analytics_core.lifecycle import EXIT_FAILED, EXIT_OK, Command
from analytics_export.erasure import Wanted, count_jobs, erase
from analytics_export.settings import Settings
from analytics_export.storage import ObjectStore, StorageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose files, and who asks."""
    parser.add_argument("--org", type=UUID, required=True, help="the organisation")
    parser.add_argument("--actor", help="files that may name this actor alone (default: all of the organisation's)")
    parser.add_argument("--dry-run", action="store_true", help="count the exports, change nothing")
    parser.add_argument("--requested-by", default=_user(), help="for the audit trail (default: the user's name)")


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when no such file is left; 1 when the storage does not do its part: ask again to go on."""
    if arguments.actor == "":
        return _refused("--actor: must have a character at least")
    wanted = Wanted(arguments.org, arguments.actor, arguments.requested_by)
    scope = scope_for_accepted_job(wanted.org_id)
    dsn = settings.database_url.get_secret_value()
    try:
        async with WriteDatabase.open(dsn, application_name=f"{settings.service_name} erase", pool_size=1) as database:
            if arguments.dry_run:
                found = await count_jobs(database, scope, wanted)
                sys.stdout.write(f"The files of {found:,} exports would be erased.\n")
                return EXIT_OK
            erased = await erase(database, ObjectStore(settings), scope, wanted, settings.prefixes)
    except StorageError as error:
        return _refused(f"S3_ENDPOINT: {error.detail}")
    unknown = f", and {erased.unknown_objects:,} objects that belonged to none" if erased.unknown_objects else ""
    sys.stdout.write(f"Erased the files of {erased.jobs:,} exports{unknown}.\n")
    return EXIT_OK


def _refused(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return EXIT_FAILED


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


ERASE = Command(
    "erase",
    "Remove the exported files of an organisation, or those that may name one of its actors.",
    add_arguments,
    run,
)
