"""One transaction a batch: all of it or nothing, each event once, every message accounted for."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from time import monotonic
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from analytics_core import clock
from analytics_core.database import WriteDatabase, WriteSession
from analytics_core.errors import FencedError
from analytics_core.testing.builders import ORG_ID, event_body
from analytics_ingest import batch as batch_module
from analytics_ingest import decode as decode_module
from analytics_ingest import event_store
from analytics_ingest.batch import Batch
from analytics_ingest.chunks import Unreadable
from analytics_ingest.dead_letters import DeadLetterLimit
from analytics_ingest.event_rows import ID_COLUMNS, copy_of_ids, time_bytes
from analytics_ingest.event_store import Stored
from analytics_ingest.leases import Lease, LeaseExpired, Leases
from analytics_ingest.persist import Receipt, persist
from analytics_ingest.unstorable import find_unstorable
from analytics_ingest.writer import BatchWriter
from tests.integration.ingest.streaming import STREAM, Tables

RETENTION = timedelta(days=400)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
INDIA = timezone(timedelta(hours=5, minutes=30))
NOON = (clock.now() - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)


def body(number: int, *, at: datetime = NOON, tokens: int = 100) -> bytes:
    return event_body(eventId=str(UUID(int=number)), occurredAt=at.isoformat(), inputTokens=tokens)


def batch_of(bodies: Sequence[bytes | Unreadable], first_offset: int = 0, accepted_at: datetime = NOON) -> Batch:
    made = Batch(RETENTION)
    made.add(bodies, first_offset, accepted_at)
    return made


async def acquire(database: WriteDatabase, owner: str = "a", partition: int = 0) -> Lease:
    leases = Leases(database, STREAM, 3, owner, timedelta(seconds=10))
    await leases.acquire(partition)
    lease = await leases.acquire(partition)
    assert isinstance(lease, Lease)
    return lease


@pytest.fixture
async def lease(ingest_database: WriteDatabase) -> Lease:
    """Partition 0, owned."""
    return await acquire(ingest_database)


async def test_a_batch_is_written_whole(tables: Tables, ingest_database: WriteDatabase, lease: Lease) -> None:
    """Offset, events, batch row and dead letters say the same."""
    receipt = await persist(
        ingest_database, lease, batch_of([body(1), b"{bad", body(2, at=NOON + HOUR), body(1)], first_offset=0)
    )

    assert (receipt.received, receipt.stored, receipt.rejected) == (4, 2, 1)
    assert (receipt.duplicates, receipt.conflicts) == (1, 0)
    (row,) = tables.rows("SELECT * FROM analytics.ingestion_batches")
    assert (row["first_offset"], row["last_offset"], row["batch_id"]) == (0, 3, receipt.batch_id)
    assert (row["occurred_min"], row["occurred_max"], row["late"]) == (NOON, NOON + HOUR, False)
    assert row["first_chunk_at"] == NOON
    assert tables.value("SELECT count(*) FROM analytics.usage_events WHERE batch_id = %s", receipt.batch_id) == 2
    (letter,) = tables.rows("SELECT * FROM analytics.dead_letters")
    assert (letter["stream_offset"], letter["reason"], bytes(letter["body"])) == (1, "not_json", b"{bad")
    assert (tables.next_offset(), lease.next_offset) == (4, 4)


async def test_every_field_of_an_event_is_stored(tables: Tables, ingest_database: WriteDatabase, lease: Lease) -> None:
    """Money in micro-cents, time in UTC with microseconds, metadata as JSON in one spelling."""
    sent = event_body(
        occurredAt=(NOON + timedelta(microseconds=123456)).astimezone(INDIA).isoformat(),
        status="error", errorCode="rate_limited", actorId="u1", clientId="k1", latencyMs=7, inputTokens=9,
        outputTokens=8, cachedInputTokens=3, reasoningTokens=2, costEstimateCents="0.000001",
        metadata={"team": "é", "project": "p" * 201},
    )  # fmt: skip
    await persist(ingest_database, lease, batch_of([sent]))

    (row,) = tables.rows("SELECT * FROM analytics.usage_events")
    assert row["org_id"] == ORG_ID
    assert (row["cost_microcents"], row["latency_ms"]) == (1, 7)
    assert (row["status"], row["error_code"]) == ("error", "rate_limited")
    assert (row["input_tokens"], row["output_tokens"]) == (9, 8)
    assert (row["cached_input_tokens"], row["reasoning_tokens"]) == (3, 2)
    assert (row["actor_id"], row["client_id"], row["project"]) == ("u1", "k1", "p" * 200)
    assert row["metadata_json"] == '{"project":"%s","team":"é"}' % ("p" * 201)
    assert row["occurred_at"] == NOON + timedelta(microseconds=123456)


@pytest.mark.parametrize("shift", [timedelta(), timedelta(hours=-24), timedelta(hours=24), timedelta(microseconds=1)])
async def test_an_id_seen_in_an_earlier_batch_is_not_stored_again(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease, shift: timedelta
) -> None:
    """Within 24 hours the id decides, across chunks of the hypertable too; another body makes it a conflict."""
    await persist(ingest_database, lease, batch_of([body(1)]))
    receipt = await persist(ingest_database, lease, batch_of([body(1, at=NOON + shift), body(2)], 1, NOON + 2 * DAY))

    assert (receipt.stored, receipt.duplicates, receipt.conflicts) == (1, 1, 0 if not shift else 1)
    assert tables.rows("SELECT occurred_at FROM analytics.usage_events WHERE event_id = %s", UUID(int=1)) == [
        {"occurred_at": NOON}
    ]


async def test_repeats_in_a_batch_are_compared_with_what_is_stored(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """The changed body is the conflict, not the faithful one after it, however batches are cut."""
    await persist(ingest_database, lease, batch_of([body(1)]))
    receipt = await persist(ingest_database, lease, batch_of([body(1, tokens=5), body(1), body(1, tokens=6)], 1))

    assert (receipt.stored, receipt.duplicates, receipt.conflicts) == (0, 3, 2)


async def test_a_row_from_when_metadata_was_jsonb_is_the_same_event(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """jsonb has a spelling of its own: keys by length, a blank after each colon."""
    sent, other = (
        event_body(eventId=str(UUID(int=1)), metadata={"a": "é", "bb": "2", "project": name}) for name in ("p", "q")
    )
    await persist(ingest_database, lease, batch_of([sent]))
    tables.rows(
        "UPDATE analytics.usage_events SET metadata = metadata_json::jsonb, metadata_json = NULL, project = NULL"
    )
    receipt = await persist(ingest_database, lease, batch_of([sent, other], 1))

    assert (receipt.stored, receipt.duplicates, receipt.conflicts) == (0, 2, 1)


async def test_two_partitions_that_bring_the_same_events_at_once_store_them_once(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """A producer that retries on another partition, with another time even, which the unique index does not mind."""
    other = await acquire(ingest_database, "b", partition=1)
    bodies = [body(number) for number in range(3000)]
    moved = [body(number, at=NOON + HOUR) for number in range(1500, 3000)]

    receipts = await asyncio.gather(
        persist(ingest_database, lease, batch_of(bodies)),
        persist(ingest_database, other, batch_of([*bodies[:1500], *moved])),
    )

    assert sum(receipt.stored for receipt in receipts) == 3000
    assert sum(receipt.conflicts for receipt in receipts) == 1500
    assert tables.totals()["duplicates"] == 3000
    assert tables.value("SELECT count(DISTINCT event_id) FROM analytics.usage_events") == 3000


async def test_bounds_and_lateness_are_those_of_the_stored_events(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """Rollup looks at them to know what a batch touches: a duplicate touches nothing."""
    await persist(ingest_database, lease, batch_of([body(1, at=NOON - 5 * HOUR)]))
    await persist(ingest_database, lease, batch_of([body(1, at=NOON - 5 * HOUR), body(2)], 1))
    await persist(ingest_database, lease, batch_of([body(1, at=NOON - 5 * HOUR)], 3))

    rows = tables.rows("SELECT occurred_min, occurred_max, late FROM analytics.ingestion_batches ORDER BY batch_id")
    assert [tuple(row.values()) for row in rows] == [
        (NOON - 5 * HOUR, NOON - 5 * HOUR, True), (NOON, NOON, True), (None, None, False),
    ]  # fmt: skip


async def test_events_are_stored_in_the_order_of_their_index(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """Whatever the order of arrival: a batch's neighbours in the index are neighbours in the table."""
    numbers = list(range(1, 200))
    random.Random(1).shuffle(numbers)
    await persist(ingest_database, lease, batch_of([body(number) for number in numbers]))
    stored = tables.rows("SELECT event_id FROM analytics.usage_events ORDER BY ctid")
    assert [row["event_id"] for row in stored] == [UUID(int=number) for number in range(1, 200)]


async def test_a_batch_over_many_days_finds_its_duplicates(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """A backfill brings months in one batch, each day looked up in its own three chunks."""
    bodies = [body(number, at=NOON - number * 7 * HOUR) for number in range(40)]
    await persist(ingest_database, lease, batch_of(bodies[::2]))
    receipt = await persist(ingest_database, lease, batch_of(bodies, 20))

    assert (receipt.stored, receipt.duplicates, receipt.conflicts) == (20, 20, 0)
    assert tables.value("SELECT count(*) FROM analytics.usage_events") == 40


@pytest.mark.parametrize("seed", range(3))
async def test_the_tables_do_not_depend_on_where_batches_end(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease, seed: int
) -> None:
    """Whatever the timing, crashes and replays make of batches: the result is that of reading one by one."""
    chance = random.Random(seed)
    messages = [
        b"bad" if chance.random() < 0.1 else body(chance.randrange(60), at=NOON - hours * HOUR, tokens=tokens)
        for hours, tokens in ((chance.choice([0, 0, 11, 23]), chance.choice([1, 1, 2])) for _ in range(200))
    ]
    offset = 0
    while offset < len(messages):
        size = chance.randint(1, 40)
        await persist(ingest_database, lease, batch_of(messages[offset : offset + size], offset))
        offset += size

    first: dict[str, bytes] = {}
    repeated = differing = 0
    for message in messages:
        if message != b"bad":
            event_id = msgspec.json.decode(message)["eventId"]
            repeated += event_id in first
            differing += first.setdefault(event_id, message) != message
    totals = tables.totals()
    assert totals == {
        "received": 200, "stored": len(first), "duplicates": repeated, "conflicts": differing,
        "rejected": messages.count(b"bad"),
    }  # fmt: skip
    stored = tables.rows("SELECT event_id::text AS id, input_tokens AS tokens, occurred_at FROM analytics.usage_events")
    sent = {id_: msgspec.json.decode(message) for id_, message in first.items()}
    assert {(row["id"], row["tokens"], row["occurred_at"]) for row in stored} == {
        (id_, event["inputTokens"], datetime.fromisoformat(event["occurredAt"])) for id_, event in sent.items()
    }


async def test_a_writer_that_was_overtaken_changes_nothing(tables: Tables, ingest_database: WriteDatabase) -> None:
    """A frozen process that thaws after its lease has ended still believes that it owns the partition."""
    zombie = await acquire(ingest_database, "zombie")
    tables.rows("UPDATE analytics.stream_offsets SET lease_until = clock_timestamp() RETURNING 1")
    owner = await acquire(ingest_database, "owner")
    await persist(ingest_database, owner, batch_of([body(1)]))

    with pytest.raises(FencedError):
        await persist(ingest_database, zombie, batch_of([body(1), body(2)]))

    assert tables.totals()["received"] == 1
    assert tables.value("SELECT count(*) FROM analytics.usage_events") == 1


async def test_the_same_owner_cannot_write_an_offset_twice(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """Compare-and-set: a commit that was repeated by mistake finds the position moved."""
    await persist(ingest_database, lease, batch_of([body(1)]))
    lease.next_offset = 0

    with pytest.raises(FencedError):
        await persist(ingest_database, lease, batch_of([body(1)]))

    assert tables.totals()["received"] == 1


async def test_nothing_is_written_under_an_expired_lease(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """The owner stops by its own clock before anybody else may begin."""
    lease.renewed_at -= 9

    with pytest.raises(LeaseExpired):
        await persist(ingest_database, lease, batch_of([body(1)]))

    assert tables.totals()["received"] == 0


async def test_a_batch_that_outlasts_its_lease_is_finished(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction holds the row that a successor needs; cancelled, it would be as slow the next time, for ever."""
    genuine = event_store.store_events

    async def store_slowly(session: WriteSession, *arguments: Any) -> Stored:
        await asyncio.sleep(2)
        return await genuine(session, *arguments)

    monkeypatch.setattr("analytics_ingest.persist.store_events", store_slowly)
    lease.duration = timedelta(seconds=1)
    lease.renewed_at = monotonic()
    leases = Leases(ingest_database, STREAM, 3, "a", lease.duration)
    keeping = asyncio.create_task(leases.keep(lease))
    writing = asyncio.create_task(persist(ingest_database, lease, batch_of([body(1)])))
    done, _ = await asyncio.wait({keeping, writing}, return_when=asyncio.FIRST_COMPLETED)
    keeping.cancel()

    assert done == {writing}
    assert writing.result().stored == 1
    assert not lease.is_writing


class _BrokenAfterCommit:
    """The database, with a connection that breaks when its answer to COMMIT is due."""

    def __init__(self, database: WriteDatabase) -> None:
        self._database = database
        self.read = database.read

    @asynccontextmanager
    async def write(self, *, synchronous_commit: bool = True) -> AsyncIterator[WriteSession]:
        async with self._database.write(synchronous_commit=synchronous_commit) as session:
            yield session
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


async def test_a_lost_answer_to_commit_is_looked_up(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """The batch is there: it is counted once and not written again."""
    broken: WriteDatabase = _BrokenAfterCommit(ingest_database)  # type: ignore[assignment]
    receipt = await persist(broken, lease, batch_of([body(1)]))

    assert (receipt.stored, lease.next_offset, tables.next_offset()) == (1, 1, 1)
    assert (await persist(ingest_database, lease, batch_of([body(2)], 1))).stored == 1


class _NoWakeups:
    def send(self, message: object) -> None:
        pass


def break_some(monkeypatch: pytest.MonkeyPatch, marked_tokens: int) -> None:
    """Events with so many tokens get a status that the table's CHECK refuses: what decode lets pass by mistake."""
    genuine = decode_module.decode

    def decode(*arguments: object) -> object:
        event = genuine(*arguments)  # type: ignore[arg-type]
        if getattr(event, "input_tokens", None) == marked_tokens:
            return msgspec.structs.replace(event, status="strange")  # type: ignore[type-var]
        return event

    monkeypatch.setattr(batch_module, "plain_row", lambda *_: None)
    monkeypatch.setattr(batch_module, "decode", decode)


async def test_a_row_that_the_database_refuses_is_put_aside(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event that decode should have refused must not hold up its neighbours for ever."""
    break_some(monkeypatch, marked_tokens=666)
    writer = BatchWriter(ingest_database, _NoWakeups(), 1, clock.now)  # type: ignore[arg-type]
    bodies = [body(number, tokens=666 if number in {3, 57} else 1) for number in range(100)]

    await writer.write(lease, batch_of(bodies), DeadLetterLimit(0.5, 1000))

    assert tables.totals() == {"received": 100, "stored": 98, "duplicates": 0, "conflicts": 0, "rejected": 2}
    letters = tables.rows("SELECT stream_offset, reason, detail, body FROM analytics.dead_letters ORDER BY 1")
    assert [(row["stream_offset"], row["reason"], bytes(row["body"])) for row in letters] == [
        (3, "not_storable", bodies[3]), (57, "not_storable", bodies[57]),
    ]  # fmt: skip
    assert "usage_events_status" in letters[0]["detail"]


async def test_bytes_that_are_no_row_are_found_too(ingest_database: WriteDatabase) -> None:
    """Whatever is wrong with a row's bytes, the others can be stored; trials leave nothing behind."""
    events = batch_of([body(number) for number in range(9)]).events
    events[4] = events[4].replace(time_bytes(NOON), b"short")

    found = await find_unstorable(ingest_database, events)

    assert list(found) == [4]
    async with ingest_database.read() as session:
        assert await session.fetch_value("SELECT count(*) FROM analytics.usage_events") == 0


async def test_namesakes_are_looked_up_by_index_in_three_chunks(
    tables: Tables, ingest_database: WriteDatabase, lease: Lease
) -> None:
    """Three months of chunks lie around; a plan that looked into all of them would slow down by the day."""
    await persist(ingest_database, lease, batch_of([body(number, at=NOON - number * DAY) for number in range(90)]))
    await persist(ingest_database, lease, batch_of([body(number) for number in range(1000, 9000)], 90))
    events = batch_of([body(number) for number in range(10_000, 20_000)]).events

    async with ingest_database.write() as session:
        await event_store.store_events(session, 1_000_000, events[:1])
        await session.copy_binary("incoming_ids", ID_COLUMNS, copy_of_ids(events))
        window = event_store.window(NOON.replace(hour=0))
        plan = [row[0] for row in await session.fetch(f"EXPLAIN {event_store.QUERIES['find_namesakes']}", *window)]

    scans = [line for line in plan if "_chunk" in line and "Scan" in line]
    assert 2 <= len(scans) <= 3, "\n".join(plan)
    assert all("Index" in line and "usage_events_identity" in line for line in scans), "\n".join(plan)
    assert sum("event_id = ANY" in line and "Index Cond" in line for line in plan) == len(scans), "\n".join(plan)


async def test_the_receipt_conserves_messages(ingest_database: WriteDatabase, lease: Lease) -> None:
    """received = stored + duplicates + rejected, conflicts among the duplicates: the table's own CHECKs agree."""
    receipt: Receipt = await persist(
        ingest_database, lease, batch_of([body(1), body(1), body(1, tokens=5), b"x", Unreadable(b"", "")])
    )

    assert receipt.received == receipt.stored + receipt.duplicates + receipt.rejected == 5
    assert receipt.conflicts == 1
