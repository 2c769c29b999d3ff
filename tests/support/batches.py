"""Committed batches of usage events as ingest leaves them, and an independent recount of what rollups must say."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg

from analytics_core.histogram import latency_bin, merge
from analytics_core.testing.builders import NOON, ORG_ID

STREAM = "analytics.usage.v1"
_EVENT_COLUMNS = (
    "org_id, event_id, occurred_at, batch_id, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,"
    " cached_input_tokens, reasoning_tokens, status, model_id"
)
_STATUSES = ("success",) * 9 + ("error", "timeout", "throttled")
COUNTED = (
    "invocations", "error_count", "timeout_count", "throttled_count", "input_tokens", "output_tokens",
    "cached_input_tokens", "reasoning_tokens", "cost_microcents",
)  # fmt: skip
_NEVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One row of usage_events, without what no rollup looks at."""

    occurred_at: datetime = NOON
    org_id: UUID = ORG_ID
    model_id: str = "gpt-4o"
    status: str = "success"
    latency_ms: int = 420
    input_tokens: int = 100
    output_tokens: int = 50
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cost_microcents: int = 125_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one commit. `accepted_at` is when the broker took them; by default right after the newest of them."""

    events: Sequence[StoredEvent]
    accepted_at: datetime | None = None
    rejected: int = 0


@dataclass(slots=True)
class Bucket:
    """What a rollup says, or should say, about one organisation, model and bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTED))
    latencies: dict[int, int] = field(default_factory=dict)
    first_event_at: datetime = _NEVER[1]
    last_event_at: datetime = _NEVER[0]

    def add(self, event: StoredEvent) -> None:
        added = (
            1, event.status == "error", event.status == "timeout", event.status == "throttled", event.input_tokens,
            event.output_tokens, event.cached_input_tokens, event.reasoning_tokens, event.cost_microcents,
        )  # fmt: skip
        self.counts = [old + new for old, new in zip(self.counts, added, strict=True)]
        index = latency_bin(event.latency_ms)
        self.latencies[index] = self.latencies.get(index, 0) + 1
        self.first_event_at = min(self.first_event_at, event.occurred_at)
        self.last_event_at = max(self.last_event_at, event.occurred_at)


Buckets = dict[tuple[UUID, datetime, str], Bucket]


def random_events(
    rng: random.Random, count: int, start: datetime, length: timedelta, orgs: int = 5, models: int = 20
) -> list[StoredEvent]:
    """Events at random times in [start, start + length), of random organisations and models, some at bucket edges."""
    org_ids = [UUID(int=rng.getrandbits(128), version=4) for _ in range(orgs)]
    return [_random_event(rng, start, length, rng.choice(org_ids), models) for _ in range(count)]


def _random_event(rng: random.Random, start: datetime, length: timedelta, org_id: UUID, models: int) -> StoredEvent:
    occurred_at = start + length * rng.random()
    if rng.random() < 0.05:
        edge = occurred_at.replace(minute=0, second=0, microsecond=0)
        occurred_at = max(edge - timedelta(microseconds=rng.randint(0, 1)), start)
    input_tokens, output_tokens = rng.randint(0, 100_000), rng.randint(0, 10_000)
    return StoredEvent(
        occurred_at=occurred_at,
        org_id=org_id,
        model_id=f"provider/model-{rng.randrange(models)}",
        status=rng.choice(_STATUSES),
        latency_ms=int(rng.lognormvariate(6.5, 1.2)) if rng.random() < 0.99 else rng.choice([0, 127, 128, 2**31 - 1]),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=rng.randint(0, input_tokens),
        reasoning_tokens=rng.randint(0, output_tokens),
        cost_microcents=rng.randint(0, 10**9),
    )


def in_batches(events: Sequence[StoredEvent], size: int) -> list[Batch]:
    """The events in order, `size` to a batch."""
    return [Batch(events[first : first + size]) for first in range(0, len(events), size)]


def store(ingest_dsn: str, batches: Iterable[Batch]) -> list[int]:
    """Insert the batches with the rights of ingest, in one transaction; their ids."""
    batch_ids = []
    with psycopg.connect(ingest_dsn) as connection, connection.cursor() as cursor:
        for batch in batches:
            batch_id = _insert_batch(cursor, batch)
            batch_ids.append(batch_id)
            with cursor.copy(f"COPY analytics.usage_events ({_EVENT_COLUMNS}) FROM STDIN") as copy:
                for event in batch.events:
                    copy.write_row(_event_row(event, batch_id))
    return batch_ids


def _insert_batch(cursor: psycopg.Cursor, batch: Batch) -> int:
    times = [event.occurred_at for event in batch.events]
    newest = max(times, default=NOON)
    stored = len(batch.events)
    cursor.execute(
        "INSERT INTO analytics.ingestion_batches (stream, partition, first_offset, last_offset, received_count,"
        " stored_count, duplicate_count, conflict_count, rejected_count, occurred_min, occurred_max, late,"
        " first_chunk_at) VALUES (%s, 0, 0, %s, %s, %s, 0, 0, %s, %s, %s, false, %s) RETURNING batch_id",
        (
            STREAM, stored + batch.rejected, stored + batch.rejected, stored, batch.rejected, min(times, default=None),
            max(times, default=None), batch.accepted_at or newest,
        ),
    )  # fmt: skip
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def _event_row(event: StoredEvent, batch_id: int) -> tuple[object, ...]:
    return (
        event.org_id, uuid4(), event.occurred_at, batch_id, 0, event.cost_microcents, event.latency_ms,
        event.input_tokens, event.output_tokens, event.cached_input_tokens, event.reasoning_tokens, event.status,
        event.model_id,
    )  # fmt: skip


def recount(events: Iterable[StoredEvent], *, days: bool = False) -> Buckets:
    """What the hourly (or daily) rollup must say about these events, counted in Python."""
    buckets: Buckets = {}
    for event in events:
        start = event.occurred_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        key = (event.org_id, start.replace(hour=0) if days else start, event.model_id)
        buckets.setdefault(key, Bucket()).add(event)
    return buckets


def rollup(dsn: str, table: str) -> Buckets:
    """What `usage_hourly` or `usage_daily` says, histograms merged."""
    columns = f"{', '.join(COUNTED)}, latency_bins, latency_counts, first_event_at, last_event_at"
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        rows = connection.execute(
            f"SELECT org_id, bucket_start, model_id, {columns} FROM analytics.{table}".encode()
        ).fetchall()
    return {
        (org_id, start, model_id): Bucket(list(rest[:9]), merge([(rest[9], rest[10])]), rest[11], rest[12])
        for org_id, start, model_id, *rest in rows
    }
