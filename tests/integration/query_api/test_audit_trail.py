"""The audit trail as administrators read it, and the proof that nobody has touched it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from analytics_core.access import Action, Principal, decide, scope_for_own_work
from analytics_core.audit import AuditEntry, AuditLog
from analytics_core.database import WriteDatabase
from analytics_query_api.audit.chain import Chainer
from analytics_query_api.audit.hashing import NO_ORG, ChainKeys
from analytics_query_api.audit.proof import Fault, Head, Report, prove
from tests.integration.query_api.conftest import Api
from tests.integration.query_api.numbers import NOW
from tests.support.callers import bearer
from tests.support.stack import Database

ORG, OTHER = UUID(int=1), UUID(int=2)
KEYS = ChainKeys([b"k" * 32])


@dataclass(frozen=True)
class Trail:
    """A database of its own with an audit trail, seen as query-api and as somebody with the owner's password."""

    place: Database
    database: WriteDatabase

    async def record(self, count: int, org_id: UUID = ORG, at: datetime = NOW) -> None:
        """As many services at once as there are entries."""
        logs = [AuditLog(self.database, f"service-{number}") for number in range(3)]
        running = [asyncio.create_task(log.run()) for log in logs]
        principal = Principal("alice", frozenset({"analytics:usage:read"}), frozenset({ORG}))
        entries = [
            AuditEntry(
                at + timedelta(seconds=number), decide(principal, Action.USAGE_READ, org_id), str(number), "GET", "/"
            )
            for number in range(count)
        ]
        await asyncio.gather(*(logs[number % 3].record(entry) for number, entry in enumerate(entries)))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def link(self, keys: ChainKeys = KEYS) -> int:
        return await Chainer(self.database, keys).link()

    async def prove(self, keys: ChainKeys = KEYS, anchor: list[Head] | None = None, org: UUID | None = None) -> Report:
        return await prove(self.database, scope_for_own_work(), keys, only_org=org, anchor=anchor or [])

    def tamper(self, *statements: str) -> None:
        """What an intruder with the owner's rights can do: switch the triggers off and change what he likes."""
        with psycopg.connect(self.place.superuser_dsn, autocommit=True) as intruder:
            intruder.execute("SET session_replication_role = replica")
            for statement in statements:
                intruder.execute(statement.encode())


@pytest.fixture
async def trail(make_database: Callable[..., Database]) -> AsyncIterator[Trail]:
    """Ten linked records of one organisation and five of another."""
    place = make_database()
    async with WriteDatabase.open(place.dsn("analytics_query_api"), application_name="test", pool_size=5) as database:
        trail = Trail(place, database)
        await trail.record(10)
        await trail.record(5, OTHER)
        assert await trail.link() == 15
        yield trail


def faults(report: Report) -> set[tuple[UUID, Fault]]:
    return {(finding.org_id, finding.fault) for finding in report.findings}


async def test_an_untouched_trail_is_whole(trail: Trail) -> None:
    """One chain an organisation, with every record of three services in it, from 1 without gaps."""
    report = await trail.prove()

    assert (report.intact, report.findings, report.records) == (True, [], 15)
    assert {head.org_id: head.seq for head in report.heads} == {ORG: 10, OTHER: 5}


async def test_several_chainers_at_once_make_one_chain(trail: Trail) -> None:
    """Every replica tries; only one at a time does it, and none forks the chain."""
    await trail.record(60)
    while any(await asyncio.gather(*(trail.link() for _ in range(4)))):
        pass

    report = await trail.prove()

    assert (report.intact, report.records) == (True, 75)


TAMPERED = {
    "an edit": (Fault.ALTERED, "UPDATE analytics.audit_log SET subject = 'mallory' WHERE audit_id = 4"),
    "an edited decision": (Fault.ALTERED, "UPDATE analytics.audit_log SET decision = 'deny' WHERE audit_id = 1"),
    "another organisation": (Fault.ALTERED, f"UPDATE analytics.audit_log SET org_id = '{OTHER}' WHERE audit_id = 3"),
    "a deletion": (Fault.RECORD_MISSING, "DELETE FROM analytics.audit_log WHERE audit_id = 4"),
    "a deletion with its link": (
        Fault.LINK_MISSING,
        "DELETE FROM analytics.audit_links WHERE audit_id = 4",
        "DELETE FROM analytics.audit_log WHERE audit_id = 4",
    ),
    "a reordering": (
        Fault.ALTERED,
        "UPDATE analytics.audit_log SET request_id = (9 - request_id::integer)::text WHERE audit_id IN (4, 5)",
    ),
    "links that changed places": (
        Fault.ALTERED,
        "ALTER TABLE analytics.audit_links DROP CONSTRAINT audit_links_audit_id_key",
        (
            "UPDATE analytics.audit_links AS link SET audit_id = other.audit_id, decided_at = other.decided_at"
            " FROM analytics.audit_links AS other"
            " WHERE link.org_id = other.org_id AND link.seq IN (4, 5) AND other.seq = 9 - link.seq"
        ),
    ),
    "a truncated tail": (
        Fault.TRUNCATED,
        f"DELETE FROM analytics.audit_log WHERE org_id = '{ORG}' AND audit_id > 7",
        f"DELETE FROM analytics.audit_links WHERE org_id = '{ORG}' AND seq > 7",
    ),
    "an insertion": (
        Fault.UNLINKED,
        (
            "INSERT INTO analytics.audit_log"
            " (decided_at, service, subject, roles, org_id, action, decision, reason, request_id, method, path)"
            f" VALUES (now(), 's', 's', '{{}}', '{ORG}', 'a', 'allow', 'r', 'id', 'GET', '/')"
        ),
    ),
}


@dataclass(frozen=True)
class Aged:
    """The trail years later, when retention has dropped its first chunk with the ten and five records."""

    trail: Trail
    anchor: list[Head]


@pytest.fixture
async def aged(trail: Trail) -> Aged:
    """What rollup does for AUDIT_RETENTION, as its role; query-api links the record of it and newer ones."""
    anchor = (await trail.prove()).heads
    with psycopg.connect(trail.place.dsn("analytics_rollup"), autocommit=True) as rollup:
        dropped = rollup.execute("SELECT analytics.drop_oldest_chunk('audit_log', '30 days')").fetchone()
    assert dropped is not None
    await trail.link()
    await trail.record(3, at=datetime.now(UTC))
    await trail.link()
    return Aged(trail, anchor)


async def test_what_retention_drops_is_told_from_what_is_missing(aged: Aged) -> None:
    """The trail says itself what went, links and older anchors still hold."""
    report = await aged.trail.prove(anchor=aged.anchor)
    alone = await aged.trail.prove(org=ORG)

    assert (report.intact, report.findings, report.expired, report.records) == (True, [], 15, 4)
    assert (alone.intact, alone.expired, alone.records) == (True, 10, 3)
    assert report.dropped_before is not None
    assert NOW < report.dropped_before <= NOW + timedelta(days=31)


async def test_retention_waits_for_links_and_has_a_least_age(trail: Trail) -> None:
    """What was not linked yet could go unseen, and a short age would be a way to remove yesterday's records."""
    await trail.record(1)
    with psycopg.connect(trail.place.dsn("analytics_rollup"), autocommit=True) as rollup:
        with pytest.raises(psycopg.errors.ObjectInUse):
            rollup.execute("SELECT analytics.drop_oldest_chunk('audit_log', '30 days')")
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            rollup.execute("SELECT analytics.drop_oldest_chunk('audit_log', '29 days')")


PRETENDED = (
    "INSERT INTO analytics.audit_log"
    " (decided_at, service, subject, roles, action, decision, reason, request_id, method, path)"
    " VALUES (now(), 'analytics-rollup', 'retention', '{{}}', 'audit:expire', 'allow', 'r', 'id', 'JOB',"
    " '/audit/before/{before}T00:00:00Z')"
)
LATELY = f"DELETE FROM analytics.audit_log WHERE org_id = '{ORG}' AND decided_at > now() - interval '1 day'"
HIDDEN: dict[str, tuple[Any, ...]] = {
    "younger records": ((ORG, Fault.RECORD_MISSING), LATELY),
    "a tail": (
        (ORG, Fault.TRUNCATED),
        LATELY,
        f"DELETE FROM analytics.audit_links WHERE org_id = '{ORG}' AND seq > 10",
    ),
    "the links of what is gone": (
        (ORG, Fault.LINK_MISSING),
        f"DELETE FROM analytics.audit_links WHERE org_id = '{ORG}' AND seq < 5",
    ),
    "links made anew": (
        (ORG, Fault.ALTERED),
        f"UPDATE analytics.audit_links SET hash = sha256('x') WHERE org_id = '{ORG}' AND seq = 10",
    ),
    "the record of the drop": (
        (NO_ORG, Fault.RECORD_MISSING),
        "DELETE FROM analytics.audit_log WHERE action = 'audit:expire'",
    ),
    "an edited record of the drop": (
        (NO_ORG, Fault.ALTERED),
        LATELY,
        "UPDATE analytics.audit_log SET path = '/audit/before/2999-01-01T00:00:00Z' WHERE action = 'audit:expire'",
    ),
    "a drop of yesterday that nobody made": (
        (ORG, Fault.RECORD_MISSING),
        LATELY,
        PRETENDED.format(before="2999-01-01"),
    ),
}


@pytest.mark.parametrize("change", HIDDEN)
async def test_retention_hides_nothing_else(aged: Aged, change: str) -> None:
    """Younger records, links and the record of the drop itself are missed as before."""
    expected, *statements = HIDDEN[change]
    aged.trail.tamper(*statements)

    report = await aged.trail.prove()

    assert expected in faults(report)
    assert not report.intact


@pytest.mark.parametrize("change", TAMPERED)
async def test_what_was_touched_is_found(trail: Trail, change: str) -> None:
    """By somebody who may do everything with the database but has not the key."""
    fault, *statements = TAMPERED[change]
    trail.tamper(*statements)

    report = await trail.prove()

    assert (ORG, fault) in faults(report)
    assert not report.intact


async def test_a_tail_cut_with_its_head_is_found_by_an_anchor(trail: Trail) -> None:
    """Inside the database nothing is left that knows better; a report kept elsewhere does."""
    anchor = (await trail.prove()).heads
    trail.tamper(
        f"DELETE FROM analytics.audit_log WHERE audit_id IN"
        f" (SELECT audit_id FROM analytics.audit_links WHERE org_id = '{ORG}' AND seq > 7)",
        f"DELETE FROM analytics.audit_links WHERE org_id = '{ORG}' AND seq > 7",
        f"UPDATE analytics.audit_heads AS head SET seq = 7, hash = link.hash FROM analytics.audit_links AS link"
        f" WHERE link.org_id = head.org_id AND link.seq = 7 AND head.org_id = '{ORG}'",
    )

    alone, anchored = await trail.prove(), await trail.prove(anchor=anchor)

    assert alone.intact
    assert faults(anchored) == {(ORG, Fault.TRUNCATED)}


async def test_a_chain_made_anew_without_the_key_is_found(trail: Trail) -> None:
    """Plain hashes anybody can compute; behind a link with a key they count for nothing, and an anchor knows."""
    anchor = (await trail.prove()).heads
    trail.tamper(
        f"DELETE FROM analytics.audit_links WHERE org_id = '{ORG}' AND seq > 5",
        f"UPDATE analytics.audit_heads AS head SET seq = 5, hash = link.hash FROM analytics.audit_links AS link"
        f" WHERE link.org_id = head.org_id AND link.seq = 5 AND head.org_id = '{ORG}'",
        "UPDATE analytics.audit_log SET subject = 'mallory' WHERE audit_id = 8",
        "INSERT INTO analytics.audit_pending SELECT audit_id, decided_at FROM analytics.audit_log AS record"
        " WHERE NOT EXISTS (SELECT FROM analytics.audit_links AS link WHERE link.audit_id = record.audit_id)",
    )
    await trail.link(ChainKeys([]))

    assert (ORG, Fault.UNSIGNED) in faults(await trail.prove())
    assert (ORG, Fault.ALTERED) in faults(await trail.prove(anchor=anchor))


async def test_keys_can_be_changed(trail: Trail) -> None:
    """Old links are proved with the old key for as long as it is listed."""
    new, both = ChainKeys([b"n" * 32]), ChainKeys([b"n" * 32, b"k" * 32])
    await trail.record(3)
    await trail.link(both)

    assert (await trail.prove(both)).intact
    assert {fault for _, fault in faults(await trail.prove(new))} == {Fault.UNKNOWN_KEY}


async def test_the_command_says_it_in_its_exit_code(
    trail: Trail, tmp_path: Path, audit_command: Callable[..., tuple[int, str]]
) -> None:
    """For a cron job that mails when it is not 0; the report of one night is the anchor of the next."""
    anchor = tmp_path / "anchor.json"
    code, text = audit_command(trail.place, "--json")
    anchor.write_text(text)
    again, words = audit_command(trail.place, "--anchor", str(anchor))
    nobody = audit_command(trail.place, "--org", str(UUID(int=7)))
    trail.tamper("UPDATE analytics.audit_log SET subject = 'mallory' WHERE audit_id = 4")
    touched, report = audit_command(trail.place, "--json", "--org", str(ORG))

    assert (code, json.loads(text)["intact"]) == (0, True)
    assert (again, "Every chain is whole." in words) == (0, True)
    assert nobody == (0, "0 records in 0 chains\nNothing to compare: there is no such chain.\n")
    assert (touched, json.loads(report)["findings"]) == (
        1, [{"orgId": str(ORG), "fault": "altered", "seq": 4, "auditId": 4}]
    )  # fmt: skip


@pytest.fixture
def audit_command(redis_url: str) -> Callable[..., tuple[int, str]]:
    """Runs `analytics-query-api audit verify …`; exit code and what it printed."""

    def run(place: Database, *arguments: str) -> tuple[int, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": place.dsn("analytics_query_api"),
            "REDIS_URL": redis_url,
            "RABBITMQ_URL": "amqp://nowhere",
            "ENVIRONMENT": "test",
            "AUTH_JWT_SECRET": "s" * 32,
            "AUDIT_CHAIN_KEYS": "k" * 32,
        }
        program = Path(sys.executable).with_name("analytics-query-api")
        done = subprocess.run(
            [program, "audit", "verify", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    return run


async def test_the_administrator_reads_the_trail_of_everybody(api: Api, org_id: UUID) -> None:
    """Filters, pages, and that reading is itself on record."""
    subject = f"reader-{uuid4()}"
    headers = bearer("analytics:usage:read", orgs=[org_id], subject=subject)
    for _ in range(3):
        await api.get(f"/orgs/{org_id}/freshness", headers=headers)
    await api.get(f"/orgs/{uuid4()}/freshness", headers=headers)
    end = (NOW + timedelta(seconds=1)).isoformat()

    everything = (await api.get("/audit", subject=subject, end=end)).json()
    denied = (await api.get("/audit", subject=subject, decision="deny", end=end)).json()
    of_org = (await api.get("/audit", orgId=str(org_id), end=end)).json()
    first = (await api.get("/audit", subject=subject, limit=3, end=end)).json()
    second = (await api.get("/audit", subject=subject, limit=3, end=end, cursor=first["nextCursor"])).json()
    reading = (await api.get("/audit", action="platform:audit:read", end=end)).json()

    assert [item["decision"] for item in everything["items"]] == ["deny", "allow", "allow", "allow"]
    assert [item["reason"] for item in denied["items"]] == ["foreign-org"]
    assert len(of_org["items"]) == 3
    assert first["items"] + second["items"] == everything["items"]
    assert (len(first["items"]), second["nextCursor"]) == (3, None)
    assert len(reading["items"]) >= 5


async def test_an_organisations_administrator_reads_its_own_trail(api: Api, org_id: UUID) -> None:
    """Who looked at our data? Nobody else's, whatever the query says."""
    await api.get(f"/orgs/{org_id}/freshness")
    end = (NOW + timedelta(seconds=1)).isoformat()
    boss = bearer("org:admin", orgs=[org_id])

    own = await api.get(f"/orgs/{org_id}/audit", headers=boss, end=end)
    foreign = await api.get(f"/orgs/{uuid4()}/audit", headers=boss, end=end)
    narrowed = await api.get(f"/orgs/{org_id}/audit", headers=boss, orgId=str(uuid4()))

    assert {item["orgId"] for item in own.json()["items"]} == {str(org_id)}
    assert (foreign.status_code, narrowed.status_code) == (404, 422)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"start": "yesterday"}, "start"),
        ({"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, "end"),
        ({"end": "0001-01-01T00:00:00Z"}, "end"),
        ({"orgId": "x"}, "orgId"),
        ({"decision": "maybe"}, "decision"),
        ({"subject": ""}, "subject"),
        ({"limit": "0"}, "limit"),
        ({"cursor": "gKk"}, "cursor"),
        ({"user": "alice"}, "user"),
        ({"subject": ["a", "b"]}, "subject"),
    ],
)
async def test_a_wrong_parameter_is_named(api: Api, parameters: dict[str, Any], field: str) -> None:
    """A filter that is ignored shows the wrong people's decisions."""
    answer = await api.get("/audit", **parameters)

    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json()["errors"]}
