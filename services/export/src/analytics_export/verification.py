"""Is a file still what it was, and does it still say what the API, the rollups and the raw events say?

Each source is added up anew in its own way: the API's totals from the largest grains, the rollups bucket by bucket, the
events one by one. Where the sources disagree, the buckets are named; where they agree with each other and not with the
file, events have come since it was written, and a new export is its next revision.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, astuple
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice

import asyncpg
import msgspec

from analytics_core.access import OrgScope
from analytics_core.database import ReadDatabase, ReadSession
from analytics_core.query.plan import NotCovered, Progress, plan_series, plan_total
from analytics_core.query.question import Question
from analytics_core.query.statements import series_statement, total_statement
from analytics_core.sql import load_queries
from analytics_export.jobs import Job, JobRequest
from analytics_export.limits import DIFFERENCES_SHOWN_MAX
from analytics_export.questions import compared_question, is_by_model
from analytics_export.rows import daily_progress, values_of_filters
from analytics_export.storage import ObjectStore, StorageError
from analytics_export.totals import Totals

_QUERIES = load_queries("analytics_export", "verification")
_COLUMNS = (
    "invocations",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_microcents",
)
_NOTHING = Totals(0, 0, 0, 0, 0, 0)


class Source(StrEnum):
    """What a file is compared with."""

    OBJECT = "object"
    API = "api"
    ROLLUPS = "rollups"
    EVENTS = "events"


class Result(StrEnum):
    """How a comparison ended."""

    EQUAL = "equal"
    DIFFERENT = "different"
    SKIPPED = "skipped"


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class Check(_Answer, frozen=True, kw_only=True):
    """One comparison; `detail` says what differs, by how much, or why it was not made."""

    source: Source
    result: Result
    detail: str


class Difference(_Answer, frozen=True, kw_only=True):
    """A bucket in which rollups and raw events disagree: the rollups minus the events, cost in micro-cents."""

    bucket_start: datetime
    excess: dict[str, int]


class Verification(_Answer, frozen=True, kw_only=True):
    """Whether everything that could be compared is equal, and the comparisons."""

    equal: bool
    checks: list[Check]
    differences: list[Difference]


async def verify(
    database: ReadDatabase, store: ObjectStore, scope: OrgScope, job: Job, *, object_bytes_max: int, patience: timedelta
) -> Verification:
    """Compare a finished export with its sources as they are now; each step that would take too long is skipped."""
    if job.totals is None or job.object_key is None:
        raise ValueError("only an export that has a file can be verified")
    checks = [await _object_check(store, job, job.object_key, object_bytes_max)]
    question = compared_question(job.request)
    if isinstance(question, str):
        checks += [_skipped(source, question) for source in (Source.API, Source.ROLLUPS, Source.EVENTS)]
        return _verification(checks, [])
    async with database.read(scope, repeatable=True) as session:
        await session.fetch_value("SELECT set_config('statement_timeout', $1, true)", _milliseconds(patience))
        progress = await daily_progress(session)
        api = await _api_total(session, scope, question, progress)
        rollups = await _rollup_buckets(session, scope, question, progress)
        try:
            events: Buckets | str = await _raw_buckets(session, scope, job.request, question)
        except asyncpg.QueryCanceledError:
            events = f"took longer than {patience.total_seconds():.0f} s; `analytics-export verify` waits for it"
    checks += [
        _compared(Source.API, api, job.totals),
        _compared(Source.ROLLUPS, _added_up(rollups), job.totals),
        _compared(Source.EVENTS, _added_up(events), job.totals),
    ]
    return _verification(checks, _differences(rollups, events))


Buckets = Mapping[datetime, Totals]


async def _object_check(store: ObjectStore, job: Job, key: str, bytes_max: int) -> Check:
    size_bytes = job.size_bytes or 0
    if size_bytes > bytes_max:
        return _skipped(Source.OBJECT, f"has more than {bytes_max:,} bytes; `analytics-export verify` reads it")
    digest, read_bytes = hashlib.sha256(), 0
    try:
        async for piece in store.read(key):
            digest.update(piece)
            read_bytes += len(piece)
    except StorageError as error:
        return Check(source=Source.OBJECT, result=Result.DIFFERENT, detail=error.detail)
    if (digest.hexdigest(), read_bytes) == (job.checksum_sha256, size_bytes):
        return _equal(Source.OBJECT, f"{read_bytes:,} bytes, sha256 {job.checksum_sha256}")
    found = f"{read_bytes:,} bytes, sha256 {digest.hexdigest()}; written were {size_bytes:,}, {job.checksum_sha256}"
    return Check(source=Source.OBJECT, result=Result.DIFFERENT, detail=found)


async def _api_total(session: ReadSession, scope: OrgScope, question: Question, progress: Progress) -> Totals | str:
    """What the usage API says for the range; or why it cannot."""
    try:
        plan = plan_total(question, progress)
    except NotCovered as error:
        return str(error)
    if not plan.parts:
        return _NOTHING
    statement = total_statement(scope, question, plan, _COLUMNS)
    (row,) = await session.fetch(statement.sql, *statement.values)
    return Totals(*row.values())


async def _rollup_buckets(
    session: ReadSession, scope: OrgScope, question: Question, progress: Progress
) -> Buckets | str:
    try:
        plan = plan_series(question, progress)
    except NotCovered as error:
        return str(error)
    if not plan.parts:
        return {}
    statement = series_statement(scope, question, plan, _COLUMNS)
    rows = await session.fetch(statement.sql, *statement.values)
    return {start: Totals(*values) for start, *values in (row.values() for row in rows)}


async def _raw_buckets(session: ReadSession, scope: OrgScope, request: JobRequest, question: Question) -> Buckets:
    bounds = question.bounds()
    if not bounds:
        return {}
    arguments = (bounds[0], bounds[-1], *values_of_filters(request), list(bounds[:-1]), is_by_model(question))
    rows = await session.fetch(_QUERIES["raw_buckets"], scope.org_id, *arguments)
    return {start: Totals(*map(int, values)) for start, *values in (row.values() for row in rows)}


def _added_up(buckets: Buckets | str) -> Totals | str:
    if isinstance(buckets, str):
        return buckets
    rows = [astuple(each) for each in (_NOTHING, *buckets.values())]
    return Totals(*map(sum, zip(*rows, strict=True)))


def _compared(source: Source, found: Totals | str, file: Totals) -> Check:
    if isinstance(found, str):
        return _skipped(source, found)
    if found == file:
        return _equal(source, f"{found.events:,} events, {found.cost_estimate_cents} cents")
    excess = ", ".join(f"{name} {value:+,}" for name, value in _excess(found, file).items())
    return Check(source=source, result=Result.DIFFERENT, detail=f"against the file: {excess}")


def _excess(one: Totals, other: Totals) -> dict[str, int]:
    values = zip(asdict(one).items(), asdict(other).values(), strict=True)
    return {name: mine - theirs for (name, mine), theirs in values if mine != theirs}


def _differences(rollups: Buckets | str, events: Buckets | str) -> list[Difference]:
    if isinstance(rollups, str) or isinstance(events, str):
        return []
    starts = sorted(rollups.keys() | events.keys())
    excesses = ((start, _excess(rollups.get(start, _NOTHING), events.get(start, _NOTHING))) for start in starts)
    found = (Difference(bucket_start=start, excess=excess) for start, excess in excesses if excess)
    return list(islice(found, DIFFERENCES_SHOWN_MAX))


def _equal(source: Source, detail: str) -> Check:
    return Check(source=source, result=Result.EQUAL, detail=detail)


def _skipped(source: Source, why: str) -> Check:
    return Check(source=source, result=Result.SKIPPED, detail=why)


def _verification(checks: list[Check], differences: list[Difference]) -> Verification:
    equal = not differences and all(check.result is not Result.DIFFERENT for check in checks)
    return Verification(equal=equal, checks=checks, differences=differences)


def _milliseconds(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))
