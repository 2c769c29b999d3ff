"""Committed batches of usage events as ingest leaves them, and an independent recount of what rollups must say."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg

from analytics_core.buckets import DAY, HOUR
from analytics_core.families import MODEL, Family
from analytics_core.histogram import latency_bin, merge
from analytics_core.testing.builders import NOON, ORG_ID

STREAM = "analytics.usage.v1"
_EVENT_COLUMNS = (
    "org_id, event_id, occurred_at, batch_id, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,"
    " cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id, error_code, metadata, project,"
    " metadata_json"
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
    actor_id: str | None = None
    client_id: str | None = None
    error_code: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one commit. `accepted_at` is when the broker took them; by default right after the newest of them."""

    events: Sequence[StoredEvent]
    accepted_at: datetime | None = None
    rejected: int = 0


@dataclass(slots=True)
class Bucket:
    """What a rollup says, or should say, about one organisation, bucket and combination of dimensions."""

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


Buckets = dict[tuple[object, ...], Bucket]
"""By organisation, start of the bucket and dimensions in the order of their family."""


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
    status = rng.choice(_STATUSES)
    return StoredEvent(
        occurred_at=occurred_at,
        org_id=org_id,
        model_id=f"provider/model-{rng.randrange(models)}",
        status=status,
        latency_ms=int(rng.lognormvariate(6.5, 1.2)) if rng.random() < 0.99 else rng.choice([0, 127, 128, 2**31 - 1]),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=rng.randint(0, input_tokens),
        reasoning_tokens=rng.randint(0, output_tokens),
        cost_microcents=rng.randint(0, 10**9),
        actor_id=rng.choice([None, "a", "a,b", 'quoted "b"']),
        client_id=rng.choice([None, "key-1", "key-2"]),
        error_code=rng.choice([None, "rate_limited", "internal_error"]) if status != "success" else None,
        project=rng.choice([None, "", "checkout", "x" * 201]),
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
                for number, event in enumerate(batch.events):
                    copy.write_row(_event_row(event, batch_id, is_old=number % 2 == 1))
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


def _event_row(event: StoredEvent, batch_id: int, *, is_old: bool) -> tuple[object, ...]:
    """As ingest stores it; an old one as it did when metadata was jsonb and a project was found there alone."""
    metadata = None if event.project is None else json.dumps({"project": event.project, "team": "a"})
    project = event.project[:200] if event.project else None
    return (
        event.org_id, uuid4(), event.occurred_at, batch_id, 0, event.cost_microcents, event.latency_ms,
        event.input_tokens, event.output_tokens, event.cached_input_tokens, event.reasoning_tokens, event.status,
        event.model_id, event.actor_id, event.client_id, event.error_code,
        *((metadata, None, None) if is_old else (None, project, metadata)),
    )  # fmt: skip


def recount(events: Iterable[StoredEvent], *, days: bool = False) -> Buckets:
    """What the hourly (or daily) rollup of models must say about these events, counted in Python."""
    return recount_family(events, MODEL, DAY if days else HOUR)


def recount_family(events: Iterable[StoredEvent], family: Family, width: timedelta) -> Buckets:
    """What a family's table with buckets of this width must say about these events, counted in Python."""
    buckets: Buckets = {}
    for event in events:
        since = event.occurred_at.astimezone(UTC)
        start = since - (since - datetime(1970, 1, 1, tzinfo=UTC)) % width
        key = (event.org_id, start, *(_dimension(event, name) for name in family.dimensions))
        buckets.setdefault(key, Bucket()).add(event)
    return buckets


def _dimension(event: StoredEvent, name: str) -> str:
    value: str | None = getattr(event, name)
    return (value or "")[:200]


def rollup(dsn: str, table: str, family: Family = MODEL) -> Buckets:
    """What a table of a family says, histograms merged."""
    columns = f"{', '.join(COUNTED)}, latency_bins, latency_counts, first_event_at, last_event_at"
    key = ("org_id", "bucket_start", *family.dimensions)
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        rows = connection.execute(f"SELECT {', '.join(key)}, {columns} FROM analytics.{table}".encode()).fetchall()
    buckets: Buckets = {}
    for row in rows:
        rest = row[len(key) :]
        assert row[: len(key)] not in buckets, "two rows for one combination of dimensions"
        buckets[row[: len(key)]] = Bucket(list(rest[:9]), merge([(rest[9], rest[10])]), rest[11], rest[12])
    return buckets
