"""`analytics-rollup reconcile`: the proof on demand, and the repair."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TextIO
from uuid import UUID

from analytics_core import clock
from analytics_core.buckets import DAY
from analytics_core.database import UNREACHABLE, WriteDatabase
from analytics_core.lifecycle import EXIT_FAILED, EXIT_OK, Command
from analytics_core.telemetry.logs import redact_text
from analytics_rollup.limits import DIFFERENCES_LISTED, RECONCILE_TIMEOUT
from analytics_rollup.reconcile import Difference, Range, Totals, differences, repair, totals
from analytics_rollup.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The range, in whole UTC days."""
    parser.add_argument("--start", type=_day, help="first day, such as 2026-03-10 (default: yesterday)")
    parser.add_argument("--end", type=_day, help="day after the last one (default: tomorrow)")
    parser.add_argument("--org", type=UUID, help="one organisation alone (default: all)")
    parser.add_argument("--repair", action="store_true", help="replace buckets that differ; folds wait meanwhile")


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when everything is equal, or has been made so; 1 when something differs or the database cannot be reached."""
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    days = Range(arguments.start or today - DAY, arguments.end or today + DAY, arguments.org)
    try:
        async with WriteDatabase.open(
            settings.database_url.get_secret_value(),
            application_name=f"{settings.service_name}-reconcile",
            pool_size=1,
            statement_timeout=RECONCILE_TIMEOUT,
        ) as database:
            return await _reconcile(database, days, sys.stdout, with_repair=arguments.repair)
    except UNREACHABLE as error:
        sys.stderr.write(redact_text(f"DATABASE_URL: cannot reach the database: {type(error).__name__}: {error}\n"))
        return EXIT_FAILED


async def _reconcile(database: WriteDatabase, days: Range, out: TextIO, *, with_repair: bool) -> int:
    async with database.read(repeatable=True) as session:
        sums, found = await totals(session, days), await differences(session, days)
    out.writelines(f"{line}\n" for line in _report(days, sums, found))
    if not found:
        return EXIT_OK
    if not with_repair:
        out.write("Run again with --repair to replace them by a recount.\n")
        return EXIT_FAILED
    replaced = await repair(database, days)
    out.write(f"Replaced {len(replaced)} buckets.\n")
    return EXIT_OK


def _report(days: Range, sums: Sequence[Totals], found: Sequence[Difference]) -> Iterator[str]:
    whose = f"organisation {days.org_id}" if days.org_id else "all organisations"
    yield f"{days.start:%Y-%m-%d} to {days.end:%Y-%m-%d} (exclusive), {whose}, folded batches"
    yield f"{'':14}{'calls':>16}{'input tokens':>20}{'output tokens':>20}{'micro-cents':>24}"
    for row in sums:
        yield f"{row.table_name:14}{row.calls:16,}{row.input_tokens:20,}{row.output_tokens:20,}{row.microcents:24,}"
    yield f"{len(found)} buckets differ" if found else "Every bucket is equal to a recount."
    for item in found[:DIFFERENCES_LISTED]:
        yield f"  {item.table} {item.bucket_start:%Y-%m-%dT%H:%MZ} {item.org_id} {item.model_id}"
    if len(found) > DIFFERENCES_LISTED:
        yield f"  … and {len(found) - DIFFERENCES_LISTED} more"


def _day(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)


RECONCILE = Command(
    "reconcile",
    "Compare every bucket of a range with its events, and days with their hours.",
    add_arguments,
    run,
)
