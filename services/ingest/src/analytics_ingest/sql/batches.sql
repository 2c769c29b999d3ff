-- advance_offset --
-- First statement of the transaction. Of two writers with the same expectation one changes the row and the other none:
-- batches of a partition cannot overlap, repeat or leave a hole, whoever believes to own it.
UPDATE analytics.stream_offsets
SET next_offset = $5,
    last_chunk_at = $6,
    accepted_through = greatest(accepted_through, $6),
    lease_until = clock_timestamp() + $7,
    updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2 AND epoch = $3 AND next_offset = $4
RETURNING nextval('analytics.ingestion_batches_batch_id_seq') AS batch_id, accepted_through

-- make_incoming --
-- COPY cannot skip rows that exist, so it fills this and INSERT … SELECT moves on. Made once for each connection.
CREATE TEMPORARY TABLE IF NOT EXISTS incoming_events (
    org_id uuid, event_id uuid, occurred_at timestamptz, body_hash bigint, cost_microcents bigint, latency_ms integer,
    input_tokens integer, output_tokens integer, cached_input_tokens integer, reasoning_tokens integer, status text,
    model_id text, actor_id text, client_id text, error_code text, metadata jsonb
) ON COMMIT DELETE ROWS

-- plan_for_values --
-- A generic plan would look into every chunk of the hypertable; with the day's bounds as values the planner sees three.
SET LOCAL plan_cache_mode = force_custom_plan

-- store_day --
-- One UTC day of the batch ($2 to $3). An event is new if its id is not within 24 hours of it, that is between $4 and
-- $5: three chunks, index-only. The bounds are values, not $2 minus an interval: timestamptz arithmetic is not constant
-- to the planner, and with it all chunks of the table are opened.
-- Costs 2 to 8 µs an event more than ON CONFLICT alone, which catches equal times only; that remains for a batch of
-- another partition that commits the same event at this moment.
INSERT INTO analytics.usage_events (
    org_id, event_id, occurred_at, batch_id, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id, error_code, metadata
)
SELECT
    org_id, event_id, occurred_at, $1, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id, error_code, metadata
FROM incoming_events AS incoming
WHERE occurred_at >= $2 AND occurred_at < $3
    AND NOT EXISTS (
        SELECT FROM analytics.usage_events AS stored
        WHERE stored.org_id = incoming.org_id
            AND stored.event_id = incoming.event_id
            AND stored.occurred_at >= incoming.occurred_at - INTERVAL '24 hours'
            AND stored.occurred_at <= incoming.occurred_at + INTERVAL '24 hours'
            AND stored.occurred_at >= $4 AND stored.occurred_at <= $5
    )
ON CONFLICT DO NOTHING

-- count_conflicts --
-- Only for batches with duplicates: those of the day whose stored namesakes all have another body.
SELECT count(*)
FROM (
    SELECT bool_and(stored.body_hash <> incoming.body_hash) AS differs
    FROM incoming_events AS incoming
    INNER JOIN analytics.usage_events AS stored
        ON stored.org_id = incoming.org_id
        AND stored.event_id = incoming.event_id
        AND stored.occurred_at >= incoming.occurred_at - INTERVAL '24 hours'
        AND stored.occurred_at <= incoming.occurred_at + INTERVAL '24 hours'
        AND stored.occurred_at >= $4 AND stored.occurred_at <= $5
    WHERE incoming.occurred_at >= $2 AND incoming.occurred_at < $3
    GROUP BY incoming.org_id, incoming.event_id, incoming.occurred_at
    HAVING bool_and(stored.batch_id <> $1)
) AS repeated
WHERE differs

-- stored_bounds --
-- Only for batches with duplicates; without, the bounds of the stored events are those of the batch.
SELECT min(occurred_at) AS oldest, max(occurred_at) AS newest FROM analytics.usage_events WHERE batch_id = $1

-- insert_batch --
-- The id was drawn by advance_offset, because the events carry it.
INSERT INTO analytics.ingestion_batches (
    batch_id, stream, partition, first_offset, last_offset, received_count, stored_count, duplicate_count,
    conflict_count, rejected_count, occurred_min, occurred_max, late, first_chunk_at
)
OVERRIDING SYSTEM VALUE
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
RETURNING committed_at

-- read_position --
-- After a commit whose answer was lost: has it happened?
SELECT next_offset FROM analytics.stream_offsets WHERE stream = $1 AND partition = $2 AND epoch = $3
