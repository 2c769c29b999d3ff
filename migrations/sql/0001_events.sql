CREATE EXTENSION IF NOT EXISTS timescaledb;

CREATE TABLE analytics.usage_events (
    org_id              uuid        NOT NULL,
    event_id            uuid        NOT NULL,
    occurred_at         timestamptz NOT NULL,
    batch_id            bigint      NOT NULL,
    body_hash           bigint      NOT NULL,
    cost_microcents     bigint      NOT NULL,
    latency_ms          integer     NOT NULL,
    input_tokens        integer     NOT NULL,
    output_tokens       integer     NOT NULL,
    cached_input_tokens integer     NOT NULL,
    reasoning_tokens    integer     NOT NULL,
    status              text        NOT NULL,
    model_id            text        NOT NULL,
    actor_id            text,
    client_id           text,
    error_code          text,
    metadata            jsonb,
    CONSTRAINT usage_events_status CHECK (status IN ('success', 'error', 'timeout', 'throttled')),
    CONSTRAINT usage_events_not_negative CHECK (
        least(cost_microcents, latency_ms, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens) >= 0
    )
);
COMMENT ON TABLE analytics.usage_events IS 'One row per LLM call; identity is (org_id, event_id). Written by ingest alone.';
COMMENT ON COLUMN analytics.usage_events.body_hash IS 'Hash of the normalised event: tells a duplicate (equal) from a conflict (different).';
COMMENT ON COLUMN analytics.usage_events.cost_microcents IS '1 cent = 1,000,000 micro-cents.';

SELECT public.create_hypertable(
    'analytics.usage_events', public.by_range('occurred_at', INTERVAL '1 day'), create_default_indexes => false
);
-- A hypertable's unique index must contain the time column; ingest looks 24 h around an event before it inserts.
CREATE UNIQUE INDEX usage_events_identity ON analytics.usage_events (org_id, event_id, occurred_at);
-- The fold reads back exactly the rows of a batch. Batch ids only grow, so inserts touch the rightmost leaf.
CREATE INDEX usage_events_batch ON analytics.usage_events (batch_id);

CREATE TABLE analytics.ingestion_batches (
    batch_id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream          text        NOT NULL,
    partition       integer     NOT NULL,
    first_offset    bigint      NOT NULL,
    last_offset     bigint      NOT NULL,
    received_count  integer     NOT NULL,
    stored_count    integer     NOT NULL,
    duplicate_count integer     NOT NULL,
    conflict_count  integer     NOT NULL,
    rejected_count  integer     NOT NULL,
    occurred_min    timestamptz,
    occurred_max    timestamptz,
    late            boolean     NOT NULL,
    first_chunk_at  timestamptz NOT NULL,
    committed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    folded_at       timestamptz,
    CONSTRAINT ingestion_batches_conservation
        CHECK (received_count = stored_count + duplicate_count + rejected_count),
    CONSTRAINT ingestion_batches_conflicts_are_duplicates CHECK (conflict_count <= duplicate_count),
    CONSTRAINT ingestion_batches_bounds CHECK (stored_count = 0 OR (occurred_min <= occurred_max))
);
COMMENT ON TABLE analytics.ingestion_batches IS
    'One row per committed batch of stream messages. Inserted by ingest; rollup sets folded_at, nothing else.';
COMMENT ON COLUMN analytics.ingestion_batches.duplicate_count IS 'Events already stored, conflicts (same id, other body) included.';
COMMENT ON COLUMN analytics.ingestion_batches.first_chunk_at IS 'When the broker accepted the oldest message of the batch.';
COMMENT ON COLUMN analytics.ingestion_batches.occurred_min IS 'Bounds of the stored events; null when none was stored.';
CREATE INDEX ingestion_batches_unfolded ON analytics.ingestion_batches (batch_id) WHERE folded_at IS NULL;
CREATE INDEX ingestion_batches_position ON analytics.ingestion_batches (stream, partition, last_offset);

CREATE TABLE analytics.stream_offsets (
    stream           text        NOT NULL,
    partition        integer     NOT NULL,
    next_offset      bigint      NOT NULL DEFAULT 0,
    epoch            bigint      NOT NULL DEFAULT 0,
    owner            text,
    lease_until      timestamptz,
    last_chunk_at    timestamptz,
    accepted_through timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, partition)
);
COMMENT ON TABLE analytics.stream_offsets IS
    'Where ingest continues in each partition, and who owns it. next_offset moves only together with the events before it.';
COMMENT ON COLUMN analytics.stream_offsets.epoch IS 'Fencing token: a new owner raises it, and writes of an older epoch change no row.';
COMMENT ON COLUMN analytics.stream_offsets.accepted_through IS
    'Every message that the broker accepted before this time is committed in usage_events or dead_letters.';

CREATE TABLE analytics.dead_letters (
    dead_letter_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id         bigint      NOT NULL REFERENCES analytics.ingestion_batches,
    stream           text        NOT NULL,
    partition        integer     NOT NULL,
    stream_offset    bigint      NOT NULL,
    reason           text        NOT NULL,
    field            text,
    detail           text        NOT NULL,
    body             bytea       NOT NULL,
    dead_lettered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (batch_id, stream_offset)
);
COMMENT ON TABLE analytics.dead_letters IS 'Messages that could not be stored, byte for byte. Written by ingest alone.';
CREATE INDEX dead_letters_position ON analytics.dead_letters (stream, partition, stream_offset);
