"""Requests that are refused as a whole: every one as problem+json, none with an effect."""

import gzip
import zlib
from collections.abc import Iterator
from time import monotonic
from uuid import UUID

import httpx
import msgspec
import pytest

from tests.integration.http_ingest.conftest import WRITE, Ingest, events
from tests.support.callers import bearer

MEGABYTE = 1_000_000


def assert_problem(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["instance"] == answer.headers["x-request-id"]
    return str(problem["detail"])


def bomb(size: int) -> bytes:
    """A gzip body that inflates to so many blanks, made in pieces."""
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(b" " * MEGABYTE) for _ in range(size // MEGABYTE)]
    return b"".join(pieces) + packer.flush()


def test_who_is_unknown_or_lacks_the_role_is_refused(ingest: Ingest, org_id: UUID) -> None:
    """Before the body is looked at."""
    body = events(org_id, 1)

    assert_problem(ingest.post(json=body), 401, "unauthenticated")
    assert_problem(ingest.post(json=body, headers={"Authorization": "Bearer x"}), 401, "unauthenticated")
    readers = bearer("analytics:usage:read", orgs=[org_id])
    assert WRITE in assert_problem(ingest.post(json=body, headers=readers), 403, "forbidden")


def test_a_parameter_is_refused(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """Who asks for a trial must not find that it was none."""
    answer = ingest.post("/analytics/v1/events?dryRun=true", json=events(org_id, 1), headers=writer)

    assert_problem(answer, 422, "invalid-request")
    assert answer.json()["errors"] == [{"field": "dryRun", "detail": "unknown parameter; there are none"}]
    assert ingest.stored(org_id) == []


def test_more_than_a_thousand_events_are_too_many(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """As an array and as lines; the sender splits them."""
    sent = events(org_id, 1_001)
    lines = b"\n".join(map(msgspec.json.encode, sent))

    assert "1000 events" in assert_problem(ingest.post(json=sent, headers=writer), 413, "too-large")
    answer = ingest.post(content=lines, headers=writer | {"Content-Type": "application/x-ndjson"})
    assert_problem(answer, 413, "too-large")
    assert ingest.stored(org_id) == []


def test_more_than_five_megabytes_are_too_many(ingest: Ingest, writer: dict[str, str]) -> None:
    """Also when the body comes in pieces and says nothing of its size."""

    def pieces() -> Iterator[bytes]:
        for _ in range(6):
            yield b" " * MEGABYTE

    assert_problem(ingest.post(content=b" " * (5 * MEGABYTE + 1), headers=writer), 413, "too-large")
    assert_problem(ingest.post(content=pieces(), headers=writer), 413, "too-large")
    assert_problem(ingest.post(content=b" " * 5 * MEGABYTE, headers=writer), 422, "invalid-request")


@pytest.mark.parametrize("members", [1, 40])
def test_a_gzip_bomb_is_defused(ingest: Ingest, writer: dict[str, str], members: int) -> None:
    """5 MB of gzip can hold 5 GB of blanks, in one piece or in many; nobody may inflate more than 5 MB of it."""
    content = bomb(400 * MEGABYTE // members) * members
    headers = writer | {"Content-Encoding": "gzip"}
    started = monotonic()
    detail = assert_problem(ingest.post(content=content, headers=headers), 413, "too-large")

    assert "inflated" in detail
    assert monotonic() - started < 10


def test_what_is_no_gzip_is_said_to_be_none(ingest: Ingest, org_id: UUID, writer: dict[str, str]) -> None:
    """A truncated body has lost events: none of it is taken."""
    packed = gzip.compress(msgspec.json.encode(events(org_id, 10)))
    headers = writer | {"Content-Encoding": "gzip"}

    for content in (packed[:-4], packed[: len(packed) // 2], packed + b"more", b"{}"):
        assert "gzip" in assert_problem(ingest.post(content=content, headers=headers), 422, "invalid-request")
    assert ingest.stored(org_id) == []


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-Type", "text/csv"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "application/json; charset=utf-16"),
        ("Content-Encoding", "br"),
        ("Content-Encoding", "gzip, gzip"),
    ],
)
def test_another_format_is_not_guessed_at(
    ingest: Ingest, org_id: UUID, writer: dict[str, str], header: str, value: str
) -> None:
    """415 says what is understood."""
    content = msgspec.json.encode(events(org_id, 1))
    detail = assert_problem(
        ingest.post(content=content, headers=writer | {header: value}), 415, "unsupported-media-type"
    )

    assert detail.startswith(header)


@pytest.mark.parametrize(
    "content",
    [b"", b"   ", b"[]", b"{", b"[1,", b"[] []", b"7", b'"text"', b"null", b"\xff\xfe", b"[" * 100_000, b"{}{}"],
)
def test_a_body_that_cannot_be_taken_apart_is_refused(ingest: Ingest, writer: dict[str, str], content: bytes) -> None:
    """Where one event ends and the next begins is unknown, so no receipt could be right."""
    assert_problem(ingest.post(content=content, headers=writer), 422, "invalid-request")


def test_other_methods_are_not_allowed(ingest: Ingest, writer: dict[str, str]) -> None:
    """Events cannot be read back here."""
    answer = httpx.get(f"{ingest.url}/analytics/v1/events", headers=writer, trust_env=False)

    assert_problem(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["allow"]
