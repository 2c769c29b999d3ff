"""The second wall: every statement of export, asked for one organisation in a session that was opened for another."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest
import pytest_asyncio

from analytics_core.access import scope_for_accepted_job
from analytics_core.database import ReadSession
from analytics_core.sql import load_queries
from analytics_export.filters import Filters
from analytics_export.formats.catalogue import Format
from analytics_export.jobs import JobRequest
from analytics_export.ranges import Granularity
from analytics_export.rows import source_of
from analytics_export.templates import TemplateName
from tests.integration.export.running import APRIL, MARCH, Bucket, store_usage
from tests.support.batches import Batch, StoredEvent, store
from tests.support.stack import Database

TOPICS = (
    "jobs", "leases", "housekeeping", "webhooks", "schedules", "rows", "verification", "known_models", "verify_command",
)  # fmt: skip
# They touch no organisation's rows: locks, how far the fold is and what retention has dropped.
NOBODYS = {"lock_claims", "lock_revisions", "progress", "retained"}
# Sums over what another statement reads.
PART = {"sums": "events"}
STATEMENTS = {name: text for topic in TOPICS for name, text in load_queries("analytics_export", topic).items()}
NOW, HOUR, OWNER, SHA = timedelta(0), timedelta(hours=1), "worker", "5" * 64
OTHER = uuid4()
ORG, JOB, TAKEN, FAILED, LOST, SCHEDULE = (uuid4() for _ in range(6))
"""Made once for the file: a step finds what the ones before it have made."""

Step = tuple[str, tuple[object, ...]]


def creation(job_id: UUID, key: str) -> Step:
    question = ("daily", "csv", MARCH, APRIL, ["m"], "tester", "full", "UTC", ["model"], "{}")
    return ("create_job", (job_id, ORG, *question, "key", key, SHA, None, "https://example.com", None, 100, 10**9))


def taken(lease: timedelta = HOUR) -> Step:
    return ("claim_job", (OWNER, lease, 5, 100))


FILTERS: tuple[list[str], ...] = ([], [], [], [], [], [])
PLAN = ("0 0 * * *", "UTC", "{}", "analytics/exports", None)
# The life of five jobs and a schedule, in which each statement finds something to do.
STEPS: tuple[Step, ...] = (
    creation(JOB, "first"),
    ("find_job", (ORG, JOB)),
    ("find_job_by_key", (ORG, "first")),
    ("newest_jobs", (ORG, None, None, 10)),
    ("used_quota", (ORG,)),
    ("queue_state", ()),
    ("any_job", (JOB,)),
    taken(),
    ("renew_lease", (ORG, JOB, OWNER, HOUR, 1, 1)),
    ("retry_job", (ORG, JOB, OWNER, "storage_unavailable", "away", NOW)),
    taken(),
    ("release_job", (ORG, JOB, OWNER)),
    taken(),
    ("reserve_revision", (ORG, JOB, OWNER, SHA, SHA)),
    ("succeed_job", (ORG, JOB, OWNER, "key", 1, 1, SHA, "{}", APRIL, "finalized", NOW)),
    ("claim_webhook", (NOW,)),
    ("delay_webhook", (ORG, JOB, "refused", NOW)),
    ("end_webhook", (ORG, JOB, None)),
    ("expire_jobs", (NOW, 10)),
    ("unclean_jobs", (10,)),
    ("mark_cleaned", (ORG, JOB)),
    ("unswept_jobs", (NOW, 10)),
    ("mark_swept", (ORG, JOB)),
    creation(TAKEN, "second"),
    taken(),
    ("cancel_job", (ORG, TAKEN)),
    ("let_go", (ORG, TAKEN, OWNER)),
    creation(FAILED, "third"),
    taken(),
    ("fail_job", (ORG, FAILED, OWNER, "internal", "broken")),
    creation(LOST, "fourth"),
    taken(lease=NOW),
    ("fail_lost_jobs", (1, "worker_lost", "gone")),
    ("create_schedule", (SCHEDULE, ORG, "daily", *PLAN, True, "tester", MARCH, MARCH + 24 * HOUR, 10)),
    ("shown_schedules", (ORG, SCHEDULE)),
    ("lock_schedule", (ORG, SCHEDULE)),
    ("change_schedule", (ORG, SCHEDULE, "nightly", *PLAN, True, MARCH + 24 * HOUR, "tester")),
    ("oldest_due", ()),
    ("due_schedule", (HOUR, HOUR, [])),
    ("note_error", (ORG, SCHEDULE, "no such model")),
    ("move_on", (ORG, SCHEDULE, MARCH + 24 * HOUR, MARCH + 48 * HOUR, 1, JOB)),
    ("delete_schedule", (ORG, SCHEDULE, "tester")),
    ("known_models", (ORG, ["m"])),
    ("recent_models", (ORG, 5)),
    ("events", (ORG, MARCH, APRIL, *FILTERS)),
    ("sums", (ORG, MARCH, APRIL, *FILTERS)),
    ("chargeback", (ORG, MARCH, APRIL, *FILTERS, [MARCH])),
    ("raw_buckets", (ORG, MARCH, APRIL, *FILTERS, [MARCH], True)),
)


@pytest.fixture(scope="module")
def place(make_database: Callable[..., Database]) -> Database:
    """A database in which one organisation has a call: in the raw events, folded, and in the rollups."""
    database = make_database()
    call = StoredEvent(org_id=ORG, occurred_at=MARCH + HOUR, model_id="m")
    store(database.dsn("analytics_ingest"), [Batch([call])])
    with psycopg.connect(database.owner_dsn) as owner:
        owner.execute("UPDATE analytics.ingestion_batches SET folded_at = now(), dimensions_folded_at = now()")
    store_usage(database, "usage_hourly", [Bucket(ORG, MARCH + HOUR, "m")])
    store_usage(database, "usage_daily", [Bucket(ORG, MARCH, "m")])
    return database


@pytest_asyncio.fixture(loop_scope="session")
async def connection(place: Database) -> AsyncIterator[Any]:
    """As the service connects."""
    opened = await asyncpg.connect(place.dsn("analytics_export"), server_settings={"search_path": "analytics, public"})
    yield opened
    await opened.close()


async def finds(connection: Any, org_id: UUID, sql: str, arguments: tuple[object, ...]) -> bool:
    """Whether the statement sees or changes anything in a session of this organisation; call it in a transaction."""
    await connection.execute(f"SET LOCAL app.org_id = '{org_id}'")
    statement = await connection.prepare(sql)
    rows = await statement.fetch(*arguments)
    if not statement.get_attributes():
        return str(statement.get_statusmsg()).split()[-1] != "0"
    # A count of nothing is a row, too.
    return any(value not in (None, 0, "0", []) for row in rows for value in row.values())


def sql_of(name: str) -> str:
    return f"WITH source AS ({STATEMENTS[PART[name]]}) {STATEMENTS[name]}" if name in PART else STATEMENTS[name]


def test_every_statement_has_a_step() -> None:
    """A new one fails until it stands above."""
    assert {name for name, _ in STEPS} == set(STATEMENTS) - NOBODYS


async def test_no_statement_finds_anything_in_a_session_of_another_organisation(connection: Any) -> None:
    """Each says whose rows it wants; PostgreSQL was told of somebody else. In the right session each finds some."""
    for number, (name, arguments) in enumerate(STEPS):
        wrong = False
        with suppress(asyncpg.InsufficientPrivilegeError, asyncpg.exceptions.RaiseError):
            async with connection.transaction():
                wrong = await finds(connection, OTHER, sql_of(name), arguments)
        async with connection.transaction():
            right = await finds(connection, ORG, sql_of(name), arguments)

        assert (number, name, wrong, right) == (number, name, False, True)


@pytest.mark.parametrize("granularity", [Granularity.HOURLY, Granularity.DAILY, Granularity.MONTHLY])
async def test_no_file_of_rollups_has_rows_in_a_session_of_another_organisation(
    connection: Any, granularity: Granularity
) -> None:
    """What an export is written from, as the planner asks for it."""
    request = JobRequest(
        template=TemplateName.FULL, format=Format.CSV, granularity=granularity, start=MARCH, end=APRIL, timezone="UTC",
        group_by=("model",), filters=Filters(), requested_by="tester",
    )  # fmt: skip
    async with connection.transaction():
        source = await source_of(ReadSession(connection), scope_for_accepted_job(ORG), request)
        right = await finds(connection, ORG, source.sql, source.arguments)
        wrong = await finds(connection, OTHER, source.sql, source.arguments)

    assert (right, wrong) == (True, False)
