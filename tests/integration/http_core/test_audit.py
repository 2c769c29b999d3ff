"""The audit trail: complete before the answer, whatever callers, texts and servers do."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg
import pytest

from analytics_core.access import Action, Principal, decide
from analytics_core.audit import AuditEntry, AuditLog
from analytics_core.database import WriteDatabase
from analytics_core.errors import Unavailable
from tests.integration.http_core.conftest import AuditRows
from tests.integration.http_core.probe import NOW, Probe, open_probe, things
from tests.support.callers import bearer
from tests.support.fault_proxy import FaultProxy
from tests.support.stack import Database

ROLE = "analytics:usage:read"


def entry(request_id: str, subject: str = "alice", roles: frozenset[str] = frozenset()) -> AuditEntry:
    decision = decide(Principal(subject, roles, frozenset({UUID(int=1)})), Action.USAGE_READ, UUID(int=1))
    return AuditEntry(NOW, decision, request_id, "GET", "/")


async def test_each_of_many_concurrent_answers_has_its_record(probe: Probe, org_id: UUID, database: Database) -> None:
    """They share transactions; none may fall between two."""
    answers = await asyncio.gather(
        *(
            probe.client.get(things(org_id), headers=bearer(ROLE, orgs=[org_id], subject=f"caller-{number}"))
            for number in range(200)
        )
    )

    assert {answer.status_code for answer in answers} == {200}
    with psycopg.connect(database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT subject, request_id FROM analytics.audit_log WHERE org_id = %s", (org_id,)
        ).fetchall()
    expected = {(f"caller-{number}", answer.headers["x-request-id"]) for number, answer in enumerate(answers)}
    assert (len(rows), set(rows)) == (200, expected)


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        (bearer("admin"), "", 200),
        (bearer("admin"), "?count=x", 422),
        (bearer("analytics:exports:read", orgs=[UUID(int=1)]), "", 403),
        ({}, "", 401),
    ],
)
async def test_without_a_record_there_is_no_answer(
    database: Database, headers: dict[str, str], path: str, status: int
) -> None:
    """Not even a refusal: what it says would be known and not be on record."""
    address = urlsplit(database.dsn("analytics_query_api"))
    login = address.netloc.rpartition("@")[0]
    async with FaultProxy.open(address.hostname or "", address.port or 0) as proxy:
        dsn = urlunsplit(address._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
        async with (
            WriteDatabase.open(dsn, application_name="probe", pool_size=1) as audit_database,
            open_probe(audit_database) as probe,
        ):
            assert (await probe.client.get(things(UUID(int=1)) + path, headers=headers)).status_code == status
            proxy.refuse()

            refused = await probe.client.get(things(UUID(int=1)) + path, headers=headers)

            proxy.accept()
            again = await probe.client.get(things(UUID(int=1)) + path, headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "2"
    assert "subject" not in refused.text
    assert again.status_code == status


async def test_a_database_that_hangs_costs_seconds_not_the_request(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open connection answers nothing for a quarter of an hour."""
    monkeypatch.setattr("analytics_core.http.guards.RECORD_SECONDS_MAX", 0.3)
    address = urlsplit(database.dsn("analytics_query_api"))
    login = address.netloc.rpartition("@")[0]
    async with FaultProxy.open(address.hostname or "", address.port or 0) as proxy:
        dsn = urlunsplit(address._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
        async with (
            WriteDatabase.open(dsn, application_name="probe", pool_size=1) as audit_database,
            open_probe(audit_database) as probe,
        ):
            await probe.client.get(things(UUID(int=1)), headers=bearer("admin"))
            proxy.freeze()
            started = time.monotonic()

            refused = await probe.client.get(things(UUID(int=1)), headers=bearer("admin"))
            took_s = time.monotonic() - started
            proxy.refuse()

    assert refused.status_code == 503
    assert took_s < 3


async def test_what_cannot_be_stored_as_it_is_does_not_keep_others_out(
    audit_database: WriteDatabase, audit_rows: AuditRows
) -> None:
    """Entries share an INSERT: one that PostgreSQL refuses would refuse them all."""
    audit = AuditLog(audit_database, "probe")
    writing = asyncio.create_task(audit.run())
    odd = {
        "nul": entry("nul", subject="a\0b"),
        "surrogate": entry("surrogate", subject="a\ud800b"),
        "long": entry("long", subject="x" * 100_000),
        "separator": entry("separator", roles=frozenset({"a\x1fadmin"})),
        "many": entry("many", roles=frozenset(f"role-{number}" for number in range(10_000))),
        "plain": entry("plain"),
    }

    await asyncio.wait_for(asyncio.gather(*(audit.record(one) for one in odd.values())), 30)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)

    assert audit_rows("nul")[0][0] == "a\N{REPLACEMENT CHARACTER}b"
    assert audit_rows("surrogate")[0][0] == "a?b"
    assert len(audit_rows("long")[0][0]) == 500
    assert audit_rows("separator")[0][1] == ["a\N{REPLACEMENT CHARACTER}admin"]
    assert len(audit_rows("many")[0][1]) == 50
    assert audit_rows("plain")[0][0] == "alice"


async def test_a_caller_who_leaves_is_still_on_record(
    audit_database: WriteDatabase, org_id: UUID, audit_rows: AuditRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking and hanging up must not be a way to try without a trace."""
    async with open_probe(audit_database) as probe:
        blocked = asyncio.Event()
        original = probe.audit.record

        async def slow_record(one: AuditEntry) -> None:
            blocked.set()
            await asyncio.sleep(0.1)
            await original(one)

        monkeypatch.setattr(probe.audit, "record", slow_record)
        request = asyncio.create_task(
            probe.client.get(things(org_id), headers=bearer("admin") | {"X-Request-Id": "left-early"})
        )
        await blocked.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

        await eventually(lambda: bool(audit_rows("left-early")))


async def test_stopping_writes_what_waits(audit_database: WriteDatabase, audit_rows: AuditRows) -> None:
    """The last answers before a stop have their records too."""
    audit = AuditLog(audit_database, "probe")
    writing = asyncio.create_task(audit.run())
    await asyncio.sleep(0)
    recording = asyncio.create_task(audit.record(entry("last")))
    await asyncio.sleep(0)

    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await asyncio.wait_for(asyncio.gather(recording, return_exceptions=True), 5)

    assert recording.exception() is None or not audit_rows("last")


async def test_entries_do_not_pile_up_without_end(
    audit_database: WriteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away, the memory is not a second audit log."""
    monkeypatch.setattr("analytics_core.audit.WAITING_MAX", 2)
    audit = AuditLog(audit_database, "probe")
    waiting = [asyncio.create_task(audit.record(entry(str(number)))) for number in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await audit.record(entry("one too many"))

    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE analytics.audit_log SET subject = 'nobody'",
        "DELETE FROM analytics.audit_log",
        "TRUNCATE analytics.audit_log",
    ],
)
async def test_the_trail_cannot_be_changed_by_who_writes_it(database: Database, statement: str) -> None:
    with psycopg.connect(database.dsn("analytics_query_api")) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(statement)

    assert caught.value.sqlstate == "42501"


async def eventually(condition: Callable[[], bool], patience_s: float = 10) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
