"""The messages between services. They are wake-ups: losing every one of them costs latency, never data.

Contract: `contracts/messages/asyncapi.yaml`.
"""

from datetime import datetime
from uuid import UUID

import msgspec

EXCHANGE = "analytics"
"""The durable topic exchange; the routing key is the message's name."""

USAGE_BATCH_COMMITTED = "usage.batch.committed"
ROLLUP_COMPLETED = "rollup.completed"
EXPORT_REQUESTED = "export.requested"
EXPORT_COMPLETED = "export.completed"

ORG_IDS_MAX = 100

CONNECT_TIMEOUT_SECONDS = 10.0
"""A connection to RabbitMQ that is not up by then is given up and tried again: until the two have agreed on heartbeats,
nothing else tells a client that its broker, or the way to it, is gone."""


class _Message(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    pass


class UsageBatchCommitted(_Message, frozen=True):
    """ingest → rollup: a batch waits to be folded."""

    batch_id: int
    stream: str
    partition: int
    stored: int
    committed_at: datetime


class RollupCompleted(_Message, frozen=True):
    """rollup → query-api: these organisations have new numbers; None stands for more than `ORG_IDS_MAX` of them."""

    org_ids: list[UUID] | None
    folded_batches: int
    completed_at: datetime


class ExportRequested(_Message, frozen=True):
    """export API → export worker: a job waits."""

    job_id: UUID


class ExportCompleted(_Message, frozen=True):
    """export worker → whoever listens: a job has ended."""

    job_id: UUID
    org_id: UUID
    status: str
