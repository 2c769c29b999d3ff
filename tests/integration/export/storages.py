"""Object storages that a test may stop, start and compare: rclone as in the stack, and moto as a second one."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from minio import Minio

from tests.support.stack import ObjectStore

ACCESS_KEY, SECRET_KEY = "an-access-key-for-tests", "a-secret-key-for-tests"
BUCKET, REGION = "exports", "us-east-1"
PATIENCE_S = 30
POLL_S = 0.05


@contextmanager
def rclone(folder: Path, port: int) -> Iterator[ObjectStore]:
    """rclone's S3 server over a folder; ends with the block, what is in the folder stays."""
    (folder / BUCKET).mkdir(exist_ok=True)
    program = str(Path(sys.prefix) / "bin" / "rclone")
    command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--config", "/dev/null", str(folder)]
    with _serving([*command, "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"], port) as store:
        yield store


@contextmanager
def moto(port: int) -> Iterator[ObjectStore]:
    """moto's S3 server: parts of 5 MiB at least, XML errors, its own idea of multipart uploads. Takes every key."""
    program = str(Path(sys.prefix) / "bin" / "moto_server")
    with _serving([program, "-H", "127.0.0.1", "-p", str(port)], port) as store:
        store.client.make_bucket(bucket_name=BUCKET)
        yield store


@contextmanager
def _serving(command: list[str], port: int) -> Iterator[ObjectStore]:
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        _wait_until_listening(port)
        client = Minio(f"127.0.0.1:{port}", access_key=ACCESS_KEY, secret_key=SECRET_KEY, region=REGION, secure=False)
        yield ObjectStore(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, REGION, BUCKET, client)
    finally:
        server.kill()
        server.wait(10)


def _wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=2, trust_env=False)
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"no S3 server on port {port} after {PATIENCE_S} s"
            time.sleep(POLL_S)
        else:
            return


def objects(store: ObjectStore) -> list[str]:
    """The keys of everything in the bucket."""
    return sorted(str(item.object_name) for item in store.client.list_objects(store.bucket, recursive=True))


def unfinished_uploads(store: ObjectStore, key: str) -> int:
    """How many multipart uploads of a key were neither completed nor aborted."""
    try:
        return len(store.client._list_multipart_uploads(store.bucket, prefix=key).uploads)
    except Exception as error:
        if "NoSuchUpload" in str(error):  # rclone's way to say: none
            return 0
        raise
