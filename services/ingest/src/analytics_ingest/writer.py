"""Brings one partition's batches into the database, around the transaction: limits, bad rows, metrics, wake-ups."""

import asyncio
from datetime import datetime
from time import perf_counter

import structlog
from opentelemetry import trace

from analytics_core.clock import Clock
from analytics_core.database import WriteDatabase
from analytics_core.messages import UsageBatchCommitted
from analytics_ingest import metrics
from analytics_ingest.batch import Batch
from analytics_ingest.dead_letters import DeadLetterLimit
from analytics_ingest.leases import Lease
from analytics_ingest.persist import Receipt, persist
from analytics_ingest.trace_links import links_to
from analytics_ingest.unstorable import REFUSALS, find_unstorable
from analytics_ingest.wakeups import Wakeups

log = structlog.get_logger()
tracer = trace.get_tracer("analytics_ingest")


class BatchWriter:
    """Writes batches of any partition; at most `workers` of them at once in this process."""

    def __init__(self, database: WriteDatabase, wakeups: Wakeups, workers: int, clock: Clock) -> None:
        self._database = database
        self._wakeups = wakeups
        self._slots = asyncio.Semaphore(workers)
        self._clock = clock

    async def write(self, lease: Lease, batch: Batch, limit: DeadLetterLimit) -> None:
        """Commit the batch. Raises what `persist` raises, and `DeadLetterLimitReached` instead of committing."""
        limit.check(batch)
        async with self._slots:
            links = links_to(batch.trace_parents)
            with tracer.start_as_current_span("ingest batch", kind=trace.SpanKind.CONSUMER, links=links) as span:
                with metrics.BATCH_DURATION.time():
                    batch, receipt = await self._persist(lease, batch, limit)
                span.set_attributes(
                    {
                        "messaging.system": "rabbitmq",
                        "messaging.destination.name": lease.stream,
                        "messaging.destination.partition.id": str(lease.partition),
                        "messaging.batch.message_count": receipt.received,
                        "analytics.batch_id": receipt.batch_id,
                    }
                )
                self._count(lease, batch, receipt)
        limit.record(batch)
        self._wakeups.send(
            UsageBatchCommitted(
                batch_id=receipt.batch_id,
                stream=lease.stream,
                partition=lease.partition,
                stored=receipt.stored,
                committed_at=receipt.committed_at,
            )
        )

    async def _persist(self, lease: Lease, batch: Batch, limit: DeadLetterLimit) -> tuple[Batch, Receipt]:
        started = perf_counter()
        try:
            return batch, await persist(self._database, lease, batch)
        except REFUSALS as error:
            refused = await find_unstorable(self._database, batch.events)
            log.warning(
                "events_not_storable",
                partition=lease.partition,
                first_offset=batch.first_offset,
                events=len(refused),
                error=repr(error),
                seconds=round(perf_counter() - started, 3),
            )
            if not refused:
                raise
        rebuilt = batch.rebuilt_without({batch.event_positions[index]: why for index, why in refused.items()})
        limit.check(rebuilt)
        return rebuilt, await persist(self._database, lease, rebuilt)

    def _count(self, lease: Lease, batch: Batch, receipt: Receipt) -> None:
        metrics.EVENTS.labels("stored").inc(receipt.stored)
        metrics.EVENTS.labels("duplicate").inc(receipt.duplicates - receipt.conflicts)
        metrics.EVENTS.labels("conflict").inc(receipt.conflicts)
        metrics.EVENTS.labels("rejected").inc(receipt.rejected)
        metrics.BATCH_EVENTS.observe(receipt.received)
        metrics.DEDUPE_CONFLICTS.inc(receipt.conflicts)
        metrics.UNKNOWN_FIELD_EVENTS.inc(batch.unknown_field_events)
        metrics.LATE_BATCHES.inc(batch.is_late and receipt.stored > 0)
        for letter in batch.dead_letters:
            metrics.DEAD_LETTERS.labels(letter.rejection.reason).inc()
        metrics.LAST_PROGRESS.labels(lease.partition).set(self._clock().timestamp())
        log.debug("batch_committed", partition=lease.partition, batch_id=receipt.batch_id, stored=receipt.stored)


def lag_seconds(accepted_through: datetime | None, now: datetime) -> float:
    """The age of the time up to which everything is committed; NaN when unknown."""
    return float("nan") if accepted_through is None else max(0.0, (now - accepted_through).total_seconds())
