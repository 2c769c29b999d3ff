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

-- remove_known --
-- Events of one UTC day ($2 to $3) whose id is stored within 24 hours of them, that is between $4 and $5: three chunks,
-- index-only. The bounds are values, not $2 minus an interval: timestamptz arithmetic is not constant to the planner,
-- and with it all chunks of the table are opened. Costs 2 to 8 µs an event more than leaving it to ON CONFLICT, which
-- catches equal times only. A conflict is an event whose stored namesakes all have another body.
WITH known AS (
    DELETE FROM incoming_events AS incoming
    WHERE occurred_at >= $2 AND occurred_at < $3
        AND EXISTS (
            SELECT FROM analytics.usage_events AS stored
            WHERE stored.org_id = incoming.org_id
                AND stored.event_id = incoming.event_id
                AND stored.occurred_at >= incoming.occurred_at - INTERVAL '24 hours'
                AND stored.occurred_at <= incoming.occurred_at + INTERVAL '24 hours'
                AND stored.occurred_at >= $4 AND stored.occurred_at <= $5
                AND stored.batch_id <> $1
        )
    RETURNING NOT EXISTS (
        SELECT FROM analytics.usage_events AS stored
        WHERE stored.org_id = incoming.org_id
            AND stored.event_id = incoming.event_id
            AND stored.occurred_at >= incoming.occurred_at - INTERVAL '24 hours'
            AND stored.occurred_at <= incoming.occurred_at + INTERVAL '24 hours'
            AND stored.occurred_at >= $4 AND stored.occurred_at <= $5
            AND stored.body_hash = incoming.body_hash
    ) AS is_conflict
)
SELECT count(*) AS events, count(*) FILTER (WHERE is_conflict) AS conflicts FROM known

-- store_unknown --
-- ON CONFLICT is for a batch of another partition that commits the same event at this moment.
INSERT INTO analytics.usage_events (
    org_id, event_id, occurred_at, batch_id, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id, error_code, metadata
)
SELECT
    org_id, event_id, occurred_at, $1, body_hash, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id, error_code, metadata
FROM incoming_events
ON CONFLICT DO NOTHING

-- count_conflicts --
-- Events that came twice in one batch are compared with what is stored now: that may be neither of the two.
SELECT count(*)
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[])
    AS repeated (org_id, event_id, occurred_at, body_hash)
WHERE NOT EXISTS (
    SELECT FROM analytics.usage_events AS stored
    WHERE stored.org_id = repeated.org_id
        AND stored.event_id = repeated.event_id
        AND stored.occurred_at >= repeated.occurred_at - INTERVAL '24 hours'
        AND stored.occurred_at <= repeated.occurred_at + INTERVAL '24 hours'
        AND stored.occurred_at >= $5 AND stored.occurred_at <= $6
        AND stored.body_hash = repeated.body_hash
)

-- stored_bounds --
-- Only for batches with duplicates; without, the bounds of the stored events are those of the batch.
SELECT min(occurred_at) AS oldest, max(occurred_at) AS newest FROM analytics.usage_events WHERE batch_id = $1
