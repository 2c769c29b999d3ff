"""Rollups as the fold leaves them, made from single calls, so that a test can compute what the API must say."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from analytics_core.buckets import DAY, HOUR
from analytics_core.histogram import latency_bin
from tests.support.stack import Database

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One LLM call; only what a test is about needs to be given."""

    at: datetime = NOW
    model_id: str = "gpt-4o"
    status: str = "success"
    latency_ms: int = 100
    input_tokens: int = 10
    output_tokens: int = 5
    cached_input_tokens: int = 2
    reasoning_tokens: int = 1
    cost_microcents: int = 1


class Numbers:
    """Writes tables as the services that own them, with their grants."""

    def __init__(self, database: Database) -> None:
        self._rollup = psycopg.connect(database.dsn("analytics_rollup"), autocommit=True)
        self._ingest = psycopg.connect(database.dsn("analytics_ingest"), autocommit=True)

    def close(self) -> None:
        self._rollup.close()
        self._ingest.close()

    def fold(self, org_id: UUID, calls: Iterable[Call], *, revision: int = 0) -> None:
        """Buckets of the calls by hour and day, and the models' freshness. The buckets must be new."""
        known = list(calls)
        for table, width in (("usage_hourly", HOUR), ("usage_daily", DAY)):
            buckets: dict[tuple[datetime, str], list[Call]] = defaultdict(list)
            for call in known:
                buckets[call.at - (call.at - _EPOCH) % width, call.model_id].append(call)
            rows = [_bucket(org_id, *key, content, revision) for key, content in buckets.items()]
            columns = ", ".join(rows[0])
            values = ", ".join(f"%({name})s" for name in rows[0])
            with self._rollup.cursor() as cursor:
                cursor.executemany(f"INSERT INTO analytics.{table} ({columns}) VALUES ({values})", rows)
        for model_id in {call.model_id for call in known}:
            newest = max(call.at for call in known if call.model_id == model_id)
            self.note_freshness(org_id, model_id, newest, newest)

    def note_freshness(self, org_id: UUID, model_id: str, event_at: datetime, rollup_at: datetime) -> None:
        self._rollup.execute(
            "INSERT INTO analytics.freshness_status VALUES (%s, %s, %s, %s) ON CONFLICT (org_id, model_id) DO UPDATE"
            " SET last_event_at = excluded.last_event_at, last_rollup_at = excluded.last_rollup_at",
            (org_id, model_id, event_at, rollup_at),
        )

    def note_details(self, org_id: UUID) -> None:
        """The organisation's hours once more, as those of one failing client: the family of client and error code."""
        measures = (
            "invocations, error_count, timeout_count, throttled_count, input_tokens, output_tokens,"
            " cached_input_tokens, reasoning_tokens, cost_microcents, latency_bins, latency_counts, first_event_at,"
            " last_event_at"
        )
        for width in ("hourly", "daily"):
            self._rollup.execute(
                f"INSERT INTO analytics.usage_detail_{width}"
                f" (org_id, bucket_start, series, model_id, client_id, project, status, error_code, {measures})"
                f" SELECT org_id, bucket_start, gen_random_uuid(), model_id, 'key', '', 'error', 'busy', {measures}"
                f" FROM analytics.usage_{width} WHERE org_id = %s",
                (org_id,),
            )

    def set_watermark(self, at: datetime | None) -> None:
        """Everything accepted until then is visible; None: nobody has ever owned the partition."""
        self._ingest.execute(
            "INSERT INTO analytics.stream_offsets (stream, partition, accepted_through) VALUES ('test', 0, %s)"
            " ON CONFLICT (stream, partition) DO UPDATE SET accepted_through = excluded.accepted_through",
            (at,),
        )

    def commit_batch(self, accepted_at: datetime) -> int:
        """A batch that waits to be folded."""
        row = self._ingest.execute(
            "INSERT INTO analytics.ingestion_batches (stream, partition, first_offset, last_offset, received_count,"
            " stored_count, duplicate_count, conflict_count, rejected_count, late, first_chunk_at)"
            " VALUES ('test', 0, 0, 0, 0, 0, 0, 0, 0, false, %s) RETURNING batch_id",
            (accepted_at,),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def fold_batch(self, batch_id: int) -> None:
        self._rollup.execute(
            "UPDATE analytics.ingestion_batches SET folded_at = now() WHERE batch_id = %s", (batch_id,)
        )


def _bucket(org_id: UUID, start: datetime, model_id: str, calls: list[Call], revision: int) -> dict[str, Any]:
    bins = Counter(latency_bin(call.latency_ms) for call in calls)
    statuses = Counter(call.status for call in calls)
    return {
        "org_id": org_id,
        "bucket_start": start,
        "model_id": model_id,
        "invocations": len(calls),
        "error_count": statuses["error"],
        "timeout_count": statuses["timeout"],
        "throttled_count": statuses["throttled"],
        "input_tokens": sum(call.input_tokens for call in calls),
        "output_tokens": sum(call.output_tokens for call in calls),
        "cached_input_tokens": sum(call.cached_input_tokens for call in calls),
        "reasoning_tokens": sum(call.reasoning_tokens for call in calls),
        "cost_microcents": sum(call.cost_microcents for call in calls),
        # Neither sorted nor merged: that is how an appended histogram looks.
        "latency_bins": [*bins, *bins],
        "latency_counts": [*(count - 1 for count in bins.values()), *(1 for _ in bins)],
        "first_event_at": min(call.at for call in calls),
        "last_event_at": max(call.at for call in calls),
        "revision": revision,
        "revised_at": max(call.at for call in calls) if revision else None,
    }
