"""The object storage at work, away, and refusing: on two implementations of S3."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from analytics_export.delivery import upload
from analytics_export.jobs import ErrorCode
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
