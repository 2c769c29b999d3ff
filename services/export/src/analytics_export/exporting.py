"""From one snapshot of the database to one file and its manifest in the object storage, through one bounded pipeline.

The server formats rows while the encoder works on earlier ones and the storage takes parts before those: each waits for
the next, so memory holds the parts on their way and nothing else, whatever the size of the file.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from analytics_core import clock
from analytics_core.access import OrgScope
from analytics_core.buckets import is_finalized
from analytics_core.database import ReadDatabase
from analytics_core.errors import AnalyticsError
from analytics_export.delivery import filename, object_headers, upload
from analytics_export.formats.catalogue import FORMATS
from analytics_export.jobs import Job
from analytics_export.manifest import MEDIA_TYPE, manifest, manifest_key, parameters_sha256
from analytics_export.outcomes import Confidence, Outcome, Progress, Revision
from analytics_export.questions import period_end
from analytics_export.rows import copy_rows, seen_through, source_of, sums
from analytics_export.storage import ObjectStore
from analytics_export.templates import TEMPLATES


class InconsistentError(AnalyticsError):
    """The file has another number of rows than its snapshot: a defect, nothing is delivered."""


@dataclass(frozen=True, slots=True)
class Fencing:
    """How an attempt makes sure that the job is still its own.

    `reserve` gets the parameters' and the file's checksum and answers with the file's revision; `renew` is called right
    before the objects become visible. Both raise `FencedError`.
    """

    reserve: Callable[[str, str], Awaitable[Revision]]
    renew: Callable[[], Awaitable[None]]


async def export_file(
    database: ReadDatabase,
    store: ObjectStore,
    scope: OrgScope,
    job: Job,
    key: str,
    *,
    fencing: Fencing,
    progress: Progress,
) -> Outcome:
    """Write a job's file and manifest. Raises whatever goes wrong; then neither is visible, and no part is left.

    Both uploads begin before the lease is renewed, so whoever takes the job over revokes both.
    """
    request = job.request
    columns = TEMPLATES[request.template].columns(request.granularity, request.group_by)
    file_format = FORMATS[request.format]
    headers = partial(object_headers, job, generated_at=clock.now(), tagged=store.tags_objects)
    async with (
        upload(store, key, headers(file_format.media_type, filename(job))) as file,
        upload(store, manifest_key(key), headers(MEDIA_TYPE, manifest_key(filename(job)))) as proof,
        AsyncExitStack() as encoding,
    ):
        encoder = file_format.encoder(file.write, columns)
        encoding.push_async_callback(encoder.close)

        async def encode(piece: bytes) -> None:
            progress.rows += piece.count(b"\n")
            await encoder.write(piece)
            progress.size_bytes = file.size_bytes

        async with database.read(scope, repeatable=True) as session:
            source = await source_of(session, scope, request)
            expected_rows, totals = await sums(session, source)
            watermark = await seen_through(session, source)
            row_count = await copy_rows(
                session,
                scope,
                source,
                columns=columns,
                spelling=file_format.spelling,
                timezone=request.timezone,
                sink=encode,
            )
        if row_count != expected_rows:
            raise InconsistentError(f"{row_count} rows were written, the snapshot has {expected_rows}")
        await encoder.finish()
        await file.flush()
        complete = is_finalized(period_end(request), watermark)
        outcome = Outcome(
            object_key=key,
            row_count=row_count,
            size_bytes=file.size_bytes,
            checksum_sha256=file.checksum_sha256,
            totals=totals,
            watermark=watermark,
            confidence=Confidence.FINALIZED if complete else Confidence.ESTIMATED,
            revision=await fencing.reserve(parameters_sha256(request), file.checksum_sha256),
        )
        await proof.write(manifest(job, columns, outcome))
        await proof.flush()
        await fencing.renew()
        await file.complete()
        await proof.complete()
    return outcome
