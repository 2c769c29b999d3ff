"""Object storage over S3: the few calls that an export needs. Touches one bucket and nothing beside it.

The minio SDK blocks, so every call runs in a thread. The threads are daemons: a pool's threads would be waited for when
the process ends, and one that hangs on a dead storage does so for up to a minute.
"""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TypeVar, cast
from urllib.parse import urlsplit

import structlog
import urllib3
from minio import Minio
from minio.datatypes import Part, Upload
from minio.error import InvalidResponseError, MinioException, S3Error

from analytics_core.errors import AnalyticsError
from analytics_export.jobs import ErrorCode
from analytics_export.limits import (
    READ_BYTES,
    S3_CONNECT_TIMEOUT_SECONDS,
    S3_READ_TIMEOUT_SECONDS,
    S3_REQUEST_RETRIES,
)
from analytics_export.settings import Settings

log = structlog.get_logger()
Answer = TypeVar("Answer")

_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_FULL = re.compile(r"Response code: (507)\b")
_DETAILS = {
    ErrorCode.STORAGE_UNAVAILABLE: "the object storage did not answer as it should",
    ErrorCode.STORAGE_DENIED: "the object storage refuses this service's key",
    ErrorCode.STORAGE_FULL: "the object storage has no room left for this service",
    ErrorCode.BUCKET_MISSING: "the bucket for exports does not exist",
}
# What the stores call it (S3, MinIO, Ceph, SeaweedFS); anything else may pass by itself.
_CODES = {
    "NoSuchBucket": ErrorCode.BUCKET_MISSING,
    **dict.fromkeys(
        (
            "AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
            "InvalidToken", "AccountProblem", "RequestTimeTooSkewed", "KMS.AccessDeniedException",
            "KMS.NotFoundException", "KMS.DisabledException", "KMSNotConfigured",
        ),
        ErrorCode.STORAGE_DENIED,
    ),
    **dict.fromkeys(
        (
            "QuotaExceeded", "QuotaExceededException", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded",
            "StorageFull", "InsufficientStorage", "ServiceQuotaExceeded", "EntityTooLarge", "507",
        ),
        ErrorCode.STORAGE_FULL,
    ),
}  # fmt: skip


class StorageError(AnalyticsError):
    """The storage did not do what was asked; `code` and `detail` are fit for the export's user."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(_DETAILS[code])
        self.code = code
        self.detail = _DETAILS[code]


class ObjectMissingError(StorageError):
    """The storage answers as it should: it has no such object."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.STORAGE_UNAVAILABLE)
        self.detail = "the object storage has no such object"


class _Client(Minio):
    """The SDK's single steps of a multipart upload, which it keeps behind `put_object`.

    An upload that has an id can be revoked from outside by `abort`, and then completing it fails: that is how a worker
    which takes a job over shuts out its predecessor. `put_object` writes small files in one request without an id.
    """

    def start(self, bucket: str, key: str, headers: dict[str, str]) -> str:
        return self._create_multipart_upload(bucket, key, dict(headers))

    def send(self, bucket: str, key: str, upload_id: str, number: int, data: bytearray) -> Part:
        # Hashed, measured and sent as it is: a copy would be a part more in memory.
        return Part(number, self._upload_part(bucket, key, cast("bytes", data), None, upload_id, number))

    def complete(self, bucket: str, key: str, upload_id: str, parts: list[Part]) -> None:
        # S3 may answer 200 with an error in the body; then there is no ETag.
        if not self._complete_multipart_upload(bucket, key, upload_id, parts).etag:
            raise StorageError(ErrorCode.STORAGE_UNAVAILABLE)

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        with _no_such_upload_ignored():
            self._abort_multipart_upload(bucket, key, upload_id)

    def unfinished(self, bucket: str, prefix: str) -> list[Upload]:
        found: list[Upload] = []
        with _no_such_upload_ignored():  # what rclone says of a bucket without any
            page = self._list_multipart_uploads(bucket, prefix=prefix)
            found += page.uploads
            while page.is_truncated and page.next_key_marker:
                # The SDK loses the other marker: what a key has beyond this page is found once this page is aborted.
                page = self._list_multipart_uploads(bucket, prefix=prefix, key_marker=page.next_key_marker)
                found += page.uploads
        return found


class ObjectStore:
    """One bucket. Every method but `signed_url` raises `StorageError`."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._client = _client(settings, settings.s3_endpoint, S3_REQUEST_RETRIES)
        # A check says what is true now, so it does not try again.
        self._probe = _client(settings, settings.s3_endpoint, 0)
        # A signature covers the host, so URLs for users are signed for the host that they use; no request is made.
        self._signer = _client(settings, settings.s3_public_endpoint or settings.s3_endpoint, 0)
        self._encryption = _encryption(settings)
        self.tags_objects = settings.s3_object_tags
        self._aborting: set[asyncio.Task[None]] = set()

    async def start_upload(self, key: str, headers: dict[str, str]) -> str:
        """Revoke every unfinished upload of the key and start one; its id."""
        await self.revoke_uploads(key)
        starting = asyncio.create_task(
            self._run(lambda: self._client.start(self._bucket, key, headers | self._encryption))
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The request is on the wire; nobody else will learn the id of the upload that it starts.
            aborting = asyncio.create_task(self._abort_started(key, starting))
            self._aborting.add(aborting)
            aborting.add_done_callback(self._aborting.discard)
            raise

    async def _abort_started(self, key: str, starting: asyncio.Task[str]) -> None:
        with suppress(StorageError):  # the sweep of stale uploads finds what is left
            await self.abort_upload(key, await starting)

    async def send_part(self, key: str, upload_id: str, number: int, data: bytearray) -> Part:
        """Send one part; numbers start at 1."""
        return await self._run(lambda: self._client.send(self._bucket, key, upload_id, number, data))

    async def complete_upload(self, key: str, upload_id: str, parts: list[Part]) -> None:
        """Make the object visible, whole. Fails when the upload was revoked."""
        await self._run(lambda: self._client.complete(self._bucket, key, upload_id, parts))

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Revoke an upload and forget its parts; one that is gone already is fine."""
        await self._run(lambda: self._client.abort(self._bucket, key, upload_id))

    async def discard(self, key: str) -> None:
        """Leave nothing of this key: no unfinished upload and no object."""
        await self.revoke_uploads(key)
        await self._run(lambda: self._client.remove_object(self._bucket, key))

    async def remove_below(self, prefix: str) -> int:
        """Remove every object whose key begins so; their number."""

        def remove() -> int:
            keys = [str(each.object_name) for each in self._client.list_objects(self._bucket, prefix, recursive=True)]
            for key in keys:
                self._client.remove_object(self._bucket, key)
            return len(keys)

        return await self._run(remove)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object, piece by piece."""
        response = await self._run(lambda: self._client.get_object(self._bucket, key))
        try:
            while piece := await self._run(lambda: response.read(READ_BYTES)):
                yield piece
        finally:
            response.close()
            response.release_conn()

    async def read_range(self, key: str, offset: int, length: int) -> bytes:
        """A part of an object."""

        def read() -> bytes:
            response = self._client.get_object(self._bucket, key, offset=offset, length=length)
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()

        return await self._run(read)

    async def create_bucket(self) -> None:
        """Make the bucket unless it exists."""

        def create() -> None:
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)

        await self._run(create)

    async def check(self) -> None:
        """Return when the bucket can be reached."""
        if not await self._run(lambda: self._probe.bucket_exists(self._bucket)):
            raise StorageError(ErrorCode.BUCKET_MISSING)

    def signed_url(self, key: str, *, filename: str, media_type: str, valid_for: timedelta) -> str:
        """A URL that lets its holder read this one object under this name until the time is over. A credential."""
        return self._signer.presigned_get_object(
            self._bucket,
            key,
            expires=valid_for,
            response_headers={
                "response-content-disposition": f'attachment; filename="{filename}"',
                "response-content-type": media_type,
            },
        )

    async def abort_uploads_before(self, moment: datetime, prefix: str) -> int:
        """Abort the uploads below a prefix that were started before a moment, whoever did; their number.

        MinIO and rclone list none for a prefix that is no whole key.
        """
        uploads = await self._run(lambda: self._client.unfinished(self._bucket, prefix))
        stale = [upload for upload in uploads if upload.initiated_time and upload.initiated_time < moment]
        for upload in stale:
            await self.abort_upload(str(upload.object_name), str(upload.upload_id))
        return len(stale)

    async def revoke_uploads(self, key: str) -> int:
        """Abort every unfinished upload of this very key; their number."""
        found = await self._run(lambda: self._client.unfinished(self._bucket, key))
        mine = [upload.upload_id for upload in found if upload.object_name == key and upload.upload_id]
        for upload_id in mine:
            await self.abort_upload(key, upload_id)
        return len(mine)

    async def _run(self, call: Callable[[], Answer]) -> Answer:
        def translated() -> Answer:
            with _errors_translated():
                return call()

        return await _in_daemon_thread(translated)


async def _in_daemon_thread(call: Callable[[], Answer]) -> Answer:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | None, error: Exception | None) -> None:
        if ended.done():  # its waiter was cancelled
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(cast("Answer", answer))

    def run() -> None:
        answer, error = None, None
        try:
            answer = call()
        except Exception as raised:  # noqa: BLE001 — it is raised where it is waited for
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=run, name="s3", daemon=True).start()
    return await ended


@contextmanager
def _no_such_upload_ignored() -> Iterator[None]:
    try:
        yield
    except MinioException as error:
        if _s3_code(error) != "NoSuchUpload":
            raise


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        code = _s3_code(error)
        # The log has the server's own words, users get ours: theirs may name hosts and keys.
        log.warning("storage_refused", code=code, error=f"{type(error).__name__}: {error}")
        if code == "NoSuchKey":
            raise ObjectMissingError from error
        raise StorageError(_CODES.get(code or "", ErrorCode.STORAGE_UNAVAILABLE)) from error


def _s3_code(error: Exception) -> str | None:
    """S3's code of an error; the SDK does not read it from an answer of type text/xml, which rclone sends."""
    if isinstance(error, S3Error):
        return error.code
    if not isinstance(error, InvalidResponseError):
        return None
    # A file server or proxy in front of the storage says 507 and nothing else.
    found = _CODE.search(str(error)) or _FULL.search(str(error))
    return found[1] if found else None


def _encryption(settings: Settings) -> dict[str, str]:
    """What the storage is asked to encrypt an object with, on its side."""
    if settings.s3_sse is None:
        return {}
    headers: dict[str, str] = {"x-amz-server-side-encryption": settings.s3_sse}
    if settings.s3_sse_kms_key_id is not None:
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = settings.s3_sse_kms_key_id
    return headers


def _client(settings: Settings, endpoint: str, retries: int) -> _Client:
    url = urlsplit(endpoint)
    return _Client(
        url.netloc,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secure=url.scheme == "https",
        http_client=urllib3.PoolManager(
            maxsize=16,
            timeout=urllib3.Timeout(connect=S3_CONNECT_TIMEOUT_SECONDS, read=S3_READ_TIMEOUT_SECONDS),
            retries=urllib3.Retry(total=retries, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        ),
    )
