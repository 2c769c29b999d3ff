"""`analytics-query-api audit verify`: the proof on demand."""

import argparse
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec

from analytics_core.access import scope_for_own_work
from analytics_core.database import ReadDatabase
from analytics_core.lifecycle import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK, Command
from analytics_query_api.audit.hashing import NO_ORG, ChainKeys
from analytics_query_api.audit.proof import Head, Report, prove
from analytics_query_api.settings import Settings

_TIMEOUT = timedelta(hours=1)


class _Anchor(msgspec.Struct, frozen=True):
    """The part of an earlier report that the next one is held against."""

    heads: list[Head]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, with which chains, against what."""
    parser.add_argument("what", choices=["verify"], metavar="verify", help="prove that the audit trail is untouched")
    parser.add_argument("--org", type=UUID, help="one organisation's chain alone (default: all)")
    parser.add_argument(
        "--anchor", type=Path, help="the --json report of an earlier run: its heads must still be there"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON; keep it as the next --anchor")


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when every chain is whole, 1 when one is not, 2 for an unreadable anchor."""
    try:
        anchor = msgspec.json.decode(arguments.anchor.read_bytes(), type=_Anchor).heads if arguments.anchor else []
    except (OSError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"--anchor: cannot be read: {error}\n")
        return EXIT_CONFIGURATION
    async with ReadDatabase.open(
        settings.database_url.get_secret_value(),
        application_name=f"{settings.service_name}-audit-verify",
        pool_size=1,
        statement_timeout=_TIMEOUT,
    ) as database:
        keys = ChainKeys(settings.chain_keys)
        report = await prove(database, scope_for_own_work(), keys, only_org=arguments.org, anchor=anchor)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n" if arguments.json else "".join(_lines(report)))
    return EXIT_OK if report.intact else EXIT_FAILED


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.records:,} records in {report.chains:,} chains\n"
    if report.dropped_before is not None:
        yield f"{report.expired:,} more are gone by retention, from before {report.dropped_before:%Y-%m-%d}\n"
    for finding in report.findings:
        whose = "platform" if finding.org_id == NO_ORG else f"organisation {finding.org_id}"
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("link", finding.seq), ("record", finding.audit_id))
            if value is not None
        )
        yield f"  {finding.fault}: {whose}, {where}\n"
    if not report.intact:
        yield "The audit trail was touched.\n"
    else:
        yield "Every chain is whole.\n" if report.chains else "Nothing to compare: there is no such chain.\n"


AUDIT = Command("audit", "Prove that the audit trail is what was written.", add_arguments, run)
