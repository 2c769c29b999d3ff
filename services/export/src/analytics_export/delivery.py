"""Carries a file of unknown length into the object storage, in parts, counting and hashing on the way."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

import structlog
from minio.datatypes import Part

from analytics_core.errors import AnalyticsError
from analytics_export.formats.catalogue import FORMATS, Format
from analytics_export.jobs import Job
from analytics_export.limits import CLEAN_UP_SECONDS, PART_BYTES, PARTS_IN_FLIGHT_MAX, PARTS_MAX
from analytics_export.settings import DEFAULT_PREFIX
from analytics_export.storage import ObjectStore, StorageError
from analytics_export.templates import TemplateName

log = structlog.get_logger()

# The template that says nothing about its content is called after what it always holds.
_PREFIXES = {name: name.value for name in TemplateName} | {TemplateName.FULL: "usage"}


class TooLargeError(AnalyticsError):
    """The file has more parts than S3 takes."""


def object_key(job: Job) -> str:
    """Where an export's object lies; every attempt at a job writes the same one, and no other job does."""
    return job.object_key or new_object_key(DEFAULT_PREFIX, job.org_id, job.job_id, job.request.format)


def new_object_key(prefix: str, org_id: UUID, job_id: UUID, file_format: Format, period: str | None = None) -> str:
    """The key for a new job: below its prefix and organisation, with its period if it has one, and its own id."""
    name = f"{period}-{job_id}" if period else job_id
    return f"{prefix}/{org_id}/{name}.{FORMATS[file_format].extension}"


def filename(job: Job) -> str:
    """What a browser saves the file as; made of our own characters alone."""
    request = job.request
    span = f"{request.start:%Y%m%d}-{request.end:%Y%m%d}"
    extension = FORMATS[request.format].extension
    return f"{_PREFIXES[request.template]}-{request.granularity}-{span}-{job.job_id.hex[:8]}.{extension}"


def object_headers(job: Job, media_type: str, name: str, generated_at: datetime, *, tagged: bool) -> dict[str, str]:
    """What the storage keeps beside an object: how browsers take it, and whose it is, for rules and bills."""
    headers = {"Content-Type": media_type, "Content-Disposition": f'attachment; filename="{name}"'}
    if tagged:
        tags = {"org": job.org_id, "job": job.job_id, "generated-at": f"{generated_at:%Y-%m-%dT%H:%M:%SZ}"}
        headers["x-amz-tagging"] = urlencode(tags)
    return headers


class ObjectUpload:
    """One object on its way. Not visible before `complete`; holds at most `PARTS_IN_FLIGHT_MAX` + 1 parts in memory."""

    def __init__(self, store: ObjectStore, key: str, upload_id: str) -> None:
        self._store = store
        self._key = key
        self._upload_id = upload_id
        self._filling = bytearray()
        self._in_flight: deque[asyncio.Task[Part]] = deque()
        self._sent: list[Part] = []
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def checksum_sha256(self) -> str:
        """Of everything written so far, in hexadecimal."""
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        """Take the next bytes; waits while enough is on its way. Raises `StorageError` or `TooLargeError`."""
        self._digest.update(data)
        self.size_bytes += len(data)
        self._filling += data
        while len(self._filling) >= PART_BYTES:
            part, self._filling = self._filling, self._filling[PART_BYTES:]
            del part[PART_BYTES:]
            await self._send(part)

    async def flush(self) -> None:
        """Return when everything written has arrived."""
        if self._filling or not (self._sent or self._in_flight):
            part, self._filling = self._filling, bytearray()
            await self._send(part)
        while self._in_flight:
            await self._collect_oldest()

    async def complete(self) -> None:
        """Make the object visible. Raises `StorageError` when the upload was revoked meanwhile."""
        await self._store.complete_upload(self._key, self._upload_id, self._sent)

    async def abort(self) -> None:
        """Give up and leave nothing behind, as far as the storage lets us."""
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                # A part that arrives after its upload was aborted may stay in the storage: those under way first.
                await asyncio.gather(*self._in_flight, return_exceptions=True)
                await self._store.abort_upload(self._key, self._upload_id)
        except (StorageError, TimeoutError):
            log.warning("upload_not_aborted", key=self._key)

    async def _send(self, data: bytearray) -> None:
        if len(self._in_flight) >= PARTS_IN_FLIGHT_MAX:
            await self._collect_oldest()
        number = len(self._sent) + len(self._in_flight) + 1
        if number > PARTS_MAX:
            raise TooLargeError(f"more than {PARTS_MAX * PART_BYTES // 10**9} GB")
        sending = self._store.send_part(self._key, self._upload_id, number, data)
        self._in_flight.append(asyncio.create_task(sending))

    async def _collect_oldest(self) -> None:
        # Shielded: a thread cannot be cancelled, and `abort` has to wait for it.
        self._sent.append(await asyncio.shield(self._in_flight[0]))
        self._in_flight.popleft()


@asynccontextmanager
async def upload(store: ObjectStore, key: str, headers: dict[str, str]) -> AsyncIterator[ObjectUpload]:
    """An upload for the length of the block; aborted when the block raises. Shuts out earlier uploads of the key."""
    upload_id = await store.start_upload(key, headers)
    under_way = ObjectUpload(store, key, upload_id)
    try:
        yield under_way
    except BaseException:
        await under_way.abort()
        raise
