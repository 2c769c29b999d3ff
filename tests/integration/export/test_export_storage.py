"""The object storage at work, away, and refusing: on two implementations of S3."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from analytics_export.delivery import object_headers, upload
from analytics_export.jobs import ErrorCode, Job
from analytics_export.limits import PART_BYTES
from analytics_export.settings import Settings
from analytics_export.storage import ObjectStore as ExportStore
from analytics_export.storage import StorageError
from tests.integration.export import storages
from tests.integration.export.storages import objects, unfinished_uploads
from tests.support.stack import ObjectStore

KEY = "analytics/exports/org/job.csv"
MEDIA_TYPE = "text/csv; charset=utf-8; header=present"


def settings_for(s3: ObjectStore, **overrides: str) -> Settings:
    return Settings.model_validate(
        {
            "database_url": "postgres://a:b@localhost/c",
            "rabbitmq_url": "amqp://localhost",
            "s3_endpoint": s3.endpoint,
            "s3_access_key": s3.access_key,
            "s3_secret_key": s3.secret_key,
            "s3_bucket": s3.bucket,
            "auth_jwt_secret": "x" * 32,
            "environment": "test",
            **overrides,
        }
    )


@pytest.fixture(scope="module", params=["rclone", "moto"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[ObjectStore]:
    """A storage of its own, by either implementation."""
    port = free_port()
    running = storages.moto(port) if request.param == "moto" else storages.rclone(tmp_path_factory.mktemp("s3"), port)
    with running as store:
        yield store


@pytest.fixture
def store(server: ObjectStore) -> Iterator[ExportStore]:
    """What the service talks to it with; the bucket is empty before and after."""
    yield ExportStore(settings_for(server))
    for key in objects(server):
        server.client.remove_object(server.bucket, key)


async def written(store: ExportStore, *pieces: bytes, key: str = KEY) -> str:
    """Write an object as an export does; its checksum."""
    async with upload(store, key, {"Content-Type": MEDIA_TYPE}) as under_way:
        for piece in pieces:
            await under_way.write(piece)
        await under_way.flush()
        await under_way.complete()
        return under_way.checksum_sha256


@pytest.mark.parametrize("size", [1, PART_BYTES, 3 * PART_BYTES + 1])
async def test_an_object_of_any_number_of_parts_arrives_whole(
    server: ObjectStore, store: ExportStore, size: int
) -> None:
    """One byte, exactly one part, several with a rest; nothing unfinished stays behind."""
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    await written(store, content[: size // 2], content[size // 2 :])
    response = server.client.get_object(server.bucket, KEY)

    assert response.read() == content
    assert (objects(server), unfinished_uploads(server, KEY)) == ([KEY], 0)
    response.close()


async def test_an_upload_that_failed_leaves_nothing(server: ObjectStore, store: ExportStore) -> None:
    """Parts of an unfinished upload cost money and are seen by nobody."""

    async def fail_half_way() -> None:
        async with upload(store, KEY, {"Content-Type": MEDIA_TYPE}) as under_way:
            await under_way.write(b"x" * 2 * PART_BYTES)
            raise RuntimeError("reading failed")

    with pytest.raises(RuntimeError, match="reading failed"):
        await fail_half_way()

    assert (objects(server), unfinished_uploads(server, KEY)) == ([], 0)


async def test_a_later_upload_shuts_out_an_earlier_one(server: ObjectStore, store: ExportStore) -> None:
    """A worker that wakes up after its job was taken over must not replace the object that the job's checksum is of."""
    late = upload(store, KEY, {"Content-Type": MEDIA_TYPE})
    stale = await late.__aenter__()
    await stale.write(b"stale")
    await stale.flush()

    await written(store, b"fresh")
    with pytest.raises(StorageError) as caught:
        await stale.complete()

    assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE
    response = server.client.get_object(server.bucket, KEY)
    assert response.read() == b"fresh"
    response.close()


async def test_another_jobs_upload_goes_on(server: ObjectStore, store: ExportStore) -> None:
    """Keys that begin alike are still two objects."""
    async with upload(store, f"{KEY}.other", {"Content-Type": MEDIA_TYPE}) as other:
        await other.write(b"other")
        await other.flush()
        await written(store, b"mine")
        await other.complete()

    assert objects(server) == [KEY, f"{KEY}.other"]


async def test_discarding_leaves_neither_object_nor_upload(server: ObjectStore, store: ExportStore) -> None:
    """What a job that failed for good may have left."""
    await written(store, b"x")
    await store.start_upload(KEY, {})

    await store.discard(KEY)
    await store.discard(KEY)

    assert (objects(server), unfinished_uploads(server, KEY)) == ([], 0)


async def test_a_signed_url_names_the_file_and_its_type(store: ExportStore) -> None:
    """The browser saves it under a name that says what it is, and does not guess at what is in it."""
    await written(store, b"a,b\r\n")

    url = store.signed_url(KEY, filename="usage.csv", media_type=MEDIA_TYPE, valid_for=timedelta(minutes=1))
    async with httpx.AsyncClient(trust_env=False) as browser:
        response = await browser.get(url)

    assert (response.status_code, response.content) == (200, b"a,b\r\n")
    assert response.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    assert response.headers["content-type"] == MEDIA_TYPE


async def test_a_missing_bucket_is_told_from_a_storage_that_is_away(
    server: ObjectStore, free_port: Callable[[], int]
) -> None:
    """The first is for whoever set the service up, the second passes."""
    gone = f"http://127.0.0.1:{free_port()}"
    for overrides, code in (
        ({"s3_bucket": "no-such-bucket"}, ErrorCode.BUCKET_MISSING),
        ({"s3_endpoint": gone}, ErrorCode.STORAGE_UNAVAILABLE),
    ):
        store = ExportStore(settings_for(server, **overrides))
        with pytest.raises(StorageError) as on_check:
            await store.check()
        with pytest.raises(StorageError) as on_start:
            await store.start_upload(KEY, {})

        assert (on_check.value.code, on_start.value.code) == (code, code)


async def test_the_bucket_is_made_once_when_that_is_asked_for(server: ObjectStore) -> None:
    """A second replica finds it there."""
    name = f"made-{uuid4()}"
    store = ExportStore(settings_for(server, s3_bucket=name))

    await store.create_bucket()
    await store.create_bucket()
    await store.check()

    server.client.remove_bucket(name)


@pytest.mark.parametrize("wrong", ["s3_access_key", "s3_secret_key"])
async def test_a_wrong_key_is_told_from_a_storage_that_is_away(
    tmp_path: Path, free_port: Callable[[], int], wrong: str
) -> None:
    """Waiting does not mend it."""
    with storages.rclone(tmp_path, free_port()) as server, pytest.raises(StorageError) as caught:
        await ExportStore(settings_for(server, **{wrong: "a-wrong-one"})).start_upload(KEY, {})

    assert caught.value.code is ErrorCode.STORAGE_DENIED
    assert "wrong-one" not in str(caught.value)


async def test_objects_carry_what_the_storage_is_to_know_of_them(free_port: Callable[[], int]) -> None:
    """Encryption by the storage, tags for its rules and bills, a name for browsers. moto keeps all of it."""
    with storages.moto(free_port()) as server:
        store = ExportStore(settings_for(server, s3_sse="AES256"))
        values: dict[str, Any] = dict.fromkeys(field.name for field in fields(Job))
        job = Job(**values | {"org_id": uuid4(), "job_id": uuid4()})
        generated_at = datetime(2026, 4, 1, tzinfo=UTC)
        headers = object_headers(job, MEDIA_TYPE, "march.csv", generated_at, tagged=store.tags_objects)
        async with upload(store, KEY, headers) as under_way:
            await under_way.flush()
            await under_way.complete()

        found = server.client.stat_object(server.bucket, KEY).metadata or {}
        tags = server.client.get_object_tags(server.bucket, KEY)

    assert found["x-amz-server-side-encryption"] == "AES256"
    assert found["content-type"] == MEDIA_TYPE
    assert found["content-disposition"] == 'attachment; filename="march.csv"'
    assert tags == {"org": str(job.org_id), "job": str(job.job_id), "generated-at": "2026-04-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("QuotaExceeded", ErrorCode.STORAGE_FULL),
        ("XMinioStorageFull", ErrorCode.STORAGE_FULL),
        ("KMS.NotFoundException", ErrorCode.STORAGE_DENIED),
        ("RequestTimeTooSkewed", ErrorCode.STORAGE_DENIED),
        ("SlowDown", ErrorCode.STORAGE_UNAVAILABLE),
    ],
)
async def test_what_a_storage_answers_becomes_a_reason(server: ObjectStore, answer: str, code: ErrorCode) -> None:
    """The words of several stores, over a real connection."""
    with refusing(answer) as endpoint:
        store = ExportStore(settings_for(server, s3_endpoint=endpoint))
        with pytest.raises(StorageError) as error:
            await store.start_upload(KEY, {})

    assert error.value.code is code


async def test_an_upload_whose_start_was_given_up_is_aborted(server: ObjectStore, store: ExportStore) -> None:
    """The request is on the wire when its attempt is cancelled: nobody else will ever know the upload's id."""
    key = f"analytics/exports/{uuid4()}.csv"
    sent, start = asyncio.Event(), store._client.start
    loop = asyncio.get_running_loop()

    def start_slowly(*arguments: Any) -> str:
        upload_id = start(*arguments)
        loop.call_soon_threadsafe(sent.set)
        time.sleep(0.2)  # the answer is on its way
        return upload_id

    store._client.start = start_slowly  # type: ignore[assignment, method-assign]
    starting = asyncio.create_task(store.start_upload(key, {}))
    await sent.wait()
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    assert unfinished_uploads(server, key) == 1
    await asyncio.gather(*store._aborting)

    assert unfinished_uploads(server, key) == 0


async def test_uploads_that_nobody_knows_of_are_swept(free_port: Callable[[], int]) -> None:
    """A worker died right after it had started one, and its job was canceled since. moto starts all of them in 2010."""
    with storages.moto(free_port()) as server:
        store = ExportStore(settings_for(server))
        await store.start_upload(KEY, {})

        assert await store.abort_uploads_before(datetime(2010, 1, 1, tzinfo=UTC), "analytics/exports/") == 0
        assert await store.abort_uploads_before(datetime.now(UTC), "elsewhere/") == 0
        assert await store.abort_uploads_before(datetime.now(UTC), "analytics/exports/") == 1
        assert unfinished_uploads(server, KEY) == 0


async def test_a_storage_that_lists_page_by_page_is_swept_to_the_end(free_port: Callable[[], int]) -> None:
    """S3 shows 1,000 uploads at a time. moto shows all that there are: here each answer is cut to one of them."""
    with storages.moto(free_port()) as server:
        store = ExportStore(settings_for(server))
        keys = [f"analytics/exports/{name}.csv" for name in "abc"]
        for key in keys:
            await store.start_upload(key, {})
        everything = store._client._list_multipart_uploads

        def first_page(bucket: str, **query: Any) -> Any:
            page = everything(bucket, **query)
            following = [each for each in page.uploads if str(each.object_name) > (query.get("key_marker") or "")]
            object.__setattr__(page, "uploads", following[:1])
            object.__setattr__(page, "is_truncated", len(following) > 1)
            object.__setattr__(page, "next_key_marker", following[0].object_name)
            return page

        store._client._list_multipart_uploads = first_page  # type: ignore[assignment, method-assign]

        assert await store.abort_uploads_before(datetime.now(UTC), "analytics/exports/") == 3
        assert [unfinished_uploads(server, key) for key in keys] == [0, 0, 0]


@contextmanager
def refusing(answer: str) -> Iterator[str]:
    """A storage that answers every request with this code."""

    class Handler(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            body = f"<Error><Code>{answer}</Code><Message>no</Message></Error>".encode()
            self.send_response(400)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = refuse  # noqa: N815 — the names are the base class's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name is the base class's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()
        thread.join()
