"""`analytics-rollup reconcile` and `rebuild`: the proof on demand, and the repair."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, TextIO
from uuid import UUID

from analytics_core import clock
from analytics_core.buckets import DAY
from analytics_core.database import WriteDatabase
from analytics_core.lifecycle import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK, Command
from analytics_rollup.limits import DIFFERENCES_LISTED, RECONCILE_TIMEOUT
from analytics_rollup.reconcile import Count, Difference, Range, Totals, differences, repair, retained_since, totals
from analytics_rollup.settings import Settings


def add_range(parser: argparse.ArgumentParser) -> None:
    """The range, in whole UTC days."""
    parser.add_argument("--from", "--start", dest="start", metavar="DAY", type=_day, help="first day (yesterday)")
    parser.add_argument("--to", "--end", dest="end", metavar="DAY", type=_day, help="day after the last one (tomorrow)")
    parser.add_argument("--org", type=UUID, help="one organisation alone (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The range, and what to do about differences."""
    add_range(parser)
    parser.add_argument("--repair", action="store_true", help="replace buckets that differ; folds wait meanwhile")


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when everything is equal, or has been made so; 1 when something differs, 2 for a wrong range."""
    return await _with_database(settings, arguments, rebuild=False)


async def run_rebuild(settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when every bucket of the range is what its events say, whatever it was before."""
    return await _with_database(settings, arguments, rebuild=True)


def open_database(settings: Settings, purpose: str) -> AbstractAsyncContextManager[WriteDatabase]:
    """One connection with an operator's patience."""
    return WriteDatabase.open(
        settings.database_url.get_secret_value(),
        application_name=f"{settings.service_name}-{purpose}",
        pool_size=1,
        statement_timeout=RECONCILE_TIMEOUT,
    )


async def _with_database(settings: Settings, arguments: argparse.Namespace, *, rebuild: bool) -> int:
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    days = Range(arguments.start or today - DAY, arguments.end or today + DAY, arguments.org)
    if days.start >= days.end:
        sys.stderr.write("--from: must be before --to\n")
        return EXIT_CONFIGURATION
    async with open_database(settings, "reconcile") as database:
        async with database.read() as session:
            since = await retained_since(session)
        if since is not None and days.start < since:
            sys.stderr.write(f"--from: retention has dropped events or rollups before {since:%Y-%m-%d}\n")
            return EXIT_FAILED
        if rebuild:
            return await _rebuild(database, days, sys.stdout, as_json=arguments.json)
        return await _reconcile(database, days, sys.stdout, with_repair=arguments.repair, as_json=arguments.json)


async def _reconcile(database: WriteDatabase, days: Range, out: TextIO, *, with_repair: bool, as_json: bool) -> int:
    async with database.read(repeatable=True) as session:
        sums, found = await totals(session, days), await differences(session, days)
    replaced = await _repair(database, days) if found and with_repair else []
    if as_json:
        _write_json(out, days, found, replaced, organisations=[*_by_organisation(sums)])
    else:
        out.writelines(f"{line}\n" for line in _report(days, sums, found))
        if found and not with_repair:
            out.write("Run again with --repair to replace them by a recount.\n")
        if with_repair and found:
            out.write(f"Replaced {len(replaced)} buckets.\n")
    return EXIT_OK if with_repair or not found else EXIT_FAILED


async def _rebuild(database: WriteDatabase, days: Range, out: TextIO, *, as_json: bool) -> int:
    replaced = await _repair(database, days)
    if as_json:
        _write_json(out, days, replaced, replaced)
    else:
        out.write(f"Recounted {days.start:%Y-%m-%d} to {days.end:%Y-%m-%d}, replaced {len(replaced)} buckets.\n")
    return EXIT_OK


async def _repair(database: WriteDatabase, days: Range) -> list[Difference]:
    """Day by day, so that nothing waits for longer than a day's recount, and an interruption keeps what is done."""
    replaced: list[Difference] = []
    for day in days.days():
        replaced += await repair(database, day)
        sys.stderr.write(f"{day.start:%Y-%m-%d} done, {len(replaced)} buckets replaced so far\n")
    return replaced


def _write_json(
    out: TextIO, days: Range, found: Sequence[Difference], replaced: Sequence[Difference], **more: object
) -> None:
    document = {
        "reportVersion": 1,
        "from": days.start.isoformat(),
        "to": days.end.isoformat(),
        "orgId": str(days.org_id) if days.org_id else None,
        "differing": len(found),
        "replaced": len(replaced),
        **more,
        "differences": [_described(item) for item in found],
    }
    json.dump(document, out)
    out.write("\n")


def _described(item: Difference) -> dict[str, Any]:
    return {
        "table": item.table,
        "orgId": str(item.org_id),
        "bucketStart": item.bucket_start.isoformat(),
        "dimensions": item.dimensions,
        "stored": _counted(item.stored),
        "recounted": _counted(item.recounted),
    }


def _counted(count: Count | None) -> dict[str, int] | None:
    return None if count is None else {"invocations": count.calls, "costMicrocents": count.microcents}


def _by_organisation(sums: Sequence[Totals]) -> Iterator[dict[str, Any]]:
    for org_id in sorted({row.org_id for row in sums}):
        tables = {
            row.table_name: {
                "invocations": row.calls,
                "inputTokens": row.input_tokens,
                "outputTokens": row.output_tokens,
                "costMicrocents": row.microcents,
            }
            for row in sums
            if row.org_id == org_id
        }
        yield {"orgId": str(org_id), "tables": tables}


def _report(days: Range, sums: Sequence[Totals], found: Sequence[Difference]) -> Iterator[str]:
    whose = f"organisation {days.org_id}" if days.org_id else "all organisations"
    yield f"{days.start:%Y-%m-%d} to {days.end:%Y-%m-%d} (exclusive), {whose}, folded batches"
    if not sums and not found:
        yield "Nothing to compare: neither events nor rollups."
        return
    yield f"{'':22}{'calls':>16}{'input tokens':>20}{'output tokens':>20}{'micro-cents':>24}"
    for name in dict.fromkeys(row.table_name for row in sums):
        rows = [row for row in sums if row.table_name == name]
        yield (
            f"{name:22}{sum(row.calls for row in rows):16,}{sum(row.input_tokens for row in rows):20,}"
            f"{sum(row.output_tokens for row in rows):20,}{sum(row.microcents for row in rows):24,}"
        )
    yield f"{len(found)} buckets differ" if found else "Every bucket is equal to a recount."
    for item in found[:DIFFERENCES_LISTED]:
        values = " ".join(value or "-" for value in item.dimensions.values())
        yield f"  {item.table} {item.bucket_start:%Y-%m-%dT%H:%MZ} {item.org_id} {values}"
        yield f"    has {_in_words(item.stored)}; its events have {_in_words(item.recounted)}"
    if len(found) > DIFFERENCES_LISTED:
        yield f"  … and {len(found) - DIFFERENCES_LISTED} more"


def _in_words(count: Count | None) -> str:
    return "nothing" if count is None else f"{count.calls:,} calls, {count.microcents:,} micro-cents"


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a UTC day such as 2026-03-10, not {text!r}") from None


RECONCILE = Command(
    "reconcile",
    "Compare every bucket of a range with its events, and days with their hours.",
    add_arguments,
    run,
)
REBUILD = Command(
    "rebuild",
    "Recount a range from its events, day by day while everything runs, and replace what differs.",
    add_range,
    run_rebuild,
)
