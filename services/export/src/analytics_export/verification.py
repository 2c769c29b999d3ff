"""Is a file still what it was, and does it still say what the API, the rollups and the raw events say?

Each source is added up anew in its own way: the file row by row from its bytes in the storage, the API's totals from
the largest grains, the rollups bucket by bucket, the events one by one. All are compared with what was written down
when the file was made; the file and the events also bucket by bucket and model by model with the rollups.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

import asyncpg
import msgspec

from analytics_core.access import OrgScope
from analytics_core.database import ReadDatabase, ReadSession
from analytics_core.query.plan import NotCovered, Plan, Progress, plan_series, plan_total
from analytics_core.query.question import Dimension, Question
from analytics_core.query.statements import series_statement, total_statement
from analytics_core.sql import load_queries
from analytics_export.contents import Contents, Rows, contents
from analytics_export.jobs import Job, JobRequest
from analytics_export.limits import DIFFERENCES_SHOWN_MAX, MANIFEST_BYTES_MAX
from analytics_export.manifest import manifest_key
from analytics_export.questions import compared_question, is_by_model
from analytics_export.rows import NotKeptError, daily_progress, dropped_before, values_of_filters
from analytics_export.storage import ObjectMissingError, ObjectStore, StorageError
from analytics_export.totals import NOTHING, Totals, added, totals_json
from analytics_export.waiting import TimedOutError, time_limit

_QUERIES = load_queries("analytics_export", "verification")
_COLUMNS = (
    "invocations",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_microcents",
)
Key = TypeVar("Key", datetime, str)


class Source(StrEnum):
    """What is compared with what was written down of a file: its bytes, its manifest, its rows, and their sources."""

    OBJECT = "object"
    MANIFEST = "manifest"
    ROWS = "rows"
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
    """Where a source disagrees with the rollups: in a bucket, or in a model over the whole range; the other is null.

    `excess` is what the source, `rows` or `events`, has more than the rollups; cost in micro-cents.
    """

    source: Source
    bucket_start: datetime | None
    model_id: str | None
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
    file = await _read(store, job, job.object_key, object_bytes_max, patience)
    checks = [_object_check(job, file), await _manifest_check(store, job, job.object_key)]
    rows = file.rows if isinstance(file, Contents) else None
    checks.append(_skipped(Source.ROWS, "the file was not read") if rows is None else _rows_check(job, rows))
    question = compared_question(job.request)
    if isinstance(question, str):
        checks += [_skipped(source, question) for source in (Source.API, Source.ROLLUPS, Source.EVENTS)]
        return _verification(checks, [])
    async with database.read(scope, repeatable=True) as session:
        await session.fetch_value("SELECT set_config('statement_timeout', $1, true)", _milliseconds(patience))
        kept = _Kept(await daily_progress(session), await dropped_before(session))
        api = await _api_total(session, scope, question, kept)
        rollups = await _rollup_buckets(session, scope, question, kept)
        models = await _rollup_models(session, scope, question, kept)
        try:
            events: Buckets | str = await _raw_buckets(session, scope, job.request, question)
        except asyncpg.QueryCanceledError:
            events = _slow(patience)
    checks += [
        _compared(Source.API, api, job.totals),
        _compared(Source.ROLLUPS, _added_up(rollups), job.totals),
        _compared(Source.EVENTS, _added_up(events), job.totals),
    ]
    return _verification(checks, list(islice(_differences(rows, models, rollups, events), DIFFERENCES_SHOWN_MAX)))


Buckets = Mapping[datetime, Totals]
Models = Mapping[str, Totals]


async def _read(store: ObjectStore, job: Job, key: str, bytes_max: int, patience: timedelta) -> Contents | Check:
    """What is in the file; or the check that says why nobody knows."""
    if (job.size_bytes or 0) > bytes_max:
        return _skipped(Source.OBJECT, f"has more than {bytes_max:,} bytes; `analytics-export verify` reads it")
    try:
        async with time_limit(patience):
            return await contents(store, key, job.request)
    except ObjectMissingError as error:
        return _different(Source.OBJECT, error.detail)
    except StorageError as error:
        return _skipped(Source.OBJECT, error.detail)
    except TimedOutError:
        return _skipped(Source.OBJECT, _slow(patience))


def _object_check(job: Job, file: Contents | Check) -> Check:
    if isinstance(file, Check):
        return file
    if (file.sha256, file.size_bytes) == (job.checksum_sha256, job.size_bytes):
        return _equal(Source.OBJECT, f"{file.size_bytes:,} bytes, sha256 {file.sha256}")
    found = f"{file.size_bytes:,} bytes, sha256 {file.sha256}"
    return _different(Source.OBJECT, f"{found}; written were {job.size_bytes or 0:,}, {job.checksum_sha256}")


async def _manifest_check(store: ObjectStore, job: Job, key: str) -> Check:
    """Whether the manifest beside the file still says of it what was written down."""
    written: dict[str, Any] = {
        "jobId": str(job.job_id),
        "orgId": str(job.org_id),
        "revision": job.revision,
        "rowCount": job.row_count,
        "totals": totals_json(job.totals or NOTHING),
        "object": {"key": key, "sizeBytes": job.size_bytes, "sha256": job.checksum_sha256},
    }
    try:
        document = b""
        async for piece in store.read(manifest_key(key)):
            document += piece
            if len(document) > MANIFEST_BYTES_MAX:
                return _different(Source.MANIFEST, f"has more than {MANIFEST_BYTES_MAX:,} bytes")
        found = json.loads(document)
    except ObjectMissingError as error:
        return _different(Source.MANIFEST, error.detail)
    except StorageError as error:
        return _skipped(Source.MANIFEST, error.detail)
    except ValueError:
        return _different(Source.MANIFEST, "is no JSON")
    wrong = [name for name, value in written.items() if not _says(found, name, value)]
    if not wrong:
        return _equal(Source.MANIFEST, f"revision {job.revision}, {job.row_count or 0:,} rows")
    return _different(Source.MANIFEST, f"says something else of: {', '.join(wrong)}")


def _says(found: Any, name: str, value: Any) -> bool:
    there = found.get(name) if isinstance(found, dict) else None
    if isinstance(value, dict):
        return all(_says(there, inner, each) for inner, each in value.items())
    return bool(there == value)


def _rows_check(job: Job, rows: Rows | str) -> Check:
    if isinstance(rows, str):
        return _different(Source.ROWS, rows)
    if rows.count != job.row_count:
        return _different(Source.ROWS, f"are {rows.count:,}; written were {job.row_count or 0:,}")
    return _compared(Source.ROWS, rows.totals, job.totals or NOTHING)


@dataclass(frozen=True, slots=True)
class _Kept:
    """How far the rollups are, and what they have lost."""

    progress: Progress
    dropped: Mapping[str, datetime]


def _planned(plan_of: Callable[[Question, Progress], Plan], question: Question, kept: _Kept) -> Plan | str:
    """How the rollups answer; or why they cannot."""
    try:
        plan = plan_of(question, kept.progress)
    except NotCovered as error:
        return str(error)
    kept_since = plan.kept_since(kept.dropped)
    return plan if kept_since is None else str(NotKeptError(kept_since))


async def _api_total(session: ReadSession, scope: OrgScope, question: Question, kept: _Kept) -> Totals | str:
    """What the usage API says for the range; or why it cannot."""
    plan = _planned(plan_total, question, kept)
    if isinstance(plan, str):
        return plan
    if not plan.parts:
        return NOTHING
    statement = total_statement(scope, question, plan, _COLUMNS)
    (row,) = await session.fetch(statement.sql, *statement.values)
    return Totals(*row.values())


async def _rollup_buckets(session: ReadSession, scope: OrgScope, question: Question, kept: _Kept) -> Buckets | str:
    plan = _planned(plan_series, question, kept)
    if isinstance(plan, str):
        return plan
    if not plan.parts:
        return {}
    statement = series_statement(scope, question, plan, _COLUMNS)
    rows = await session.fetch(statement.sql, *statement.values)
    return {start: Totals(*values) for start, *values in (row.values() for row in rows)}


async def _rollup_models(session: ReadSession, scope: OrgScope, question: Question, kept: _Kept) -> Models | str:
    question = question.grouped_by(Dimension.MODEL)
    plan = _planned(plan_total, question, kept)
    if isinstance(plan, str):
        return plan
    if not plan.parts:
        return {}
    statement = total_statement(scope, question, plan, _COLUMNS)
    rows = await session.fetch(statement.sql, *statement.values)
    return {model: Totals(*values) for model, *values in (row.values() for row in rows)}


async def _raw_buckets(session: ReadSession, scope: OrgScope, request: JobRequest, question: Question) -> Buckets:
    bounds = question.bounds()
    if not bounds:
        return {}
    arguments = (bounds[0], bounds[-1], *values_of_filters(request), list(bounds[:-1]), is_by_model(question))
    rows = await session.fetch(_QUERIES["raw_buckets"], scope.org_id, *arguments)
    return {start: Totals(*map(int, values)) for start, *values in (row.values() for row in rows)}


def _added_up(buckets: Buckets | str) -> Totals | str:
    return buckets if isinstance(buckets, str) else added(*buckets.values())


def _compared(source: Source, found: Totals | str, file: Totals) -> Check:
    if isinstance(found, str):
        return _skipped(source, found)
    if found == file:
        return _equal(source, f"{found.events:,} events, {found.cost_estimate_cents} cents")
    excess = ", ".join(f"{name} {value:+,}" for name, value in _excess(found, file).items())
    return _different(source, f"against what was written: {excess}")


def _excess(one: Totals, other: Totals) -> dict[str, int]:
    values = zip(asdict(one).items(), asdict(other).values(), strict=True)
    return {name: mine - theirs for (name, mine), theirs in values if mine != theirs}


def _differences(
    rows: Rows | str | None, models: Models | str, rollups: Buckets | str, events: Buckets | str
) -> Iterator[Difference]:
    """Those of the events first: a defect of ours. Then the file's: of its buckets, and of its models."""
    if isinstance(rollups, str):
        return
    if not isinstance(events, str):
        yield from _by_bucket(Source.EVENTS, events, rollups)
    if isinstance(rows, Rows):
        yield from _by_bucket(Source.ROWS, rows.buckets, rollups)
        if rows.models is not None and not isinstance(models, str):
            for model, excess in _excesses(rows.models, models):
                yield Difference(source=Source.ROWS, bucket_start=None, model_id=model, excess=excess)


def _by_bucket(source: Source, found: Buckets, rollups: Buckets) -> Iterator[Difference]:
    for start, excess in _excesses(found, rollups):
        yield Difference(source=source, bucket_start=start, model_id=None, excess=excess)


def _excesses(found: Mapping[Key, Totals], expected: Mapping[Key, Totals]) -> Iterator[tuple[Key, dict[str, int]]]:
    for key in sorted(found.keys() | expected.keys()):
        excess = _excess(found.get(key, NOTHING), expected.get(key, NOTHING))
        if excess:
            yield key, excess


def _equal(source: Source, detail: str) -> Check:
    return Check(source=source, result=Result.EQUAL, detail=detail)


def _different(source: Source, what: str) -> Check:
    return Check(source=source, result=Result.DIFFERENT, detail=what)


def _skipped(source: Source, why: str) -> Check:
    return Check(source=source, result=Result.SKIPPED, detail=why)


def _slow(patience: timedelta) -> str:
    return f"took longer than {patience.total_seconds():.0f} s; `analytics-export verify` waits for it"


def _verification(checks: list[Check], differences: list[Difference]) -> Verification:
    equal = not differences and all(check.result is not Result.DIFFERENT for check in checks)
    return Verification(equal=equal, checks=checks, differences=differences)


def _milliseconds(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))
