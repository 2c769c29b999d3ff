-- create_delta --
-- What the claimed batches add, by hour. Made once a connection, empty again after every transaction.
CREATE TEMP TABLE IF NOT EXISTS fold_delta ON COMMIT DELETE ROWS AS
SELECT
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, latency_merged, first_event_at, last_event_at
FROM analytics.usage_hourly
WITH NO DATA

-- claim --
-- The oldest batches that nobody folds at this moment; $2 asks for one of them alone, $3 leaves some out. What was erased
-- before it was folded is not to be found.
SELECT
    batch_id, occurred_min, occurred_max, first_chunk_at, traceparent,
    stored_count - coalesce(
        (SELECT erased_count FROM analytics.erased_events AS erased WHERE erased.batch_id = batches.batch_id), 0
    ) AS stored_count
FROM analytics.ingestion_batches AS batches
WHERE folded_at IS NULL AND ($2::bigint IS NULL OR batch_id = $2) AND batch_id <> ALL ($3::bigint[])
ORDER BY batch_id
LIMIT $1
FOR UPDATE SKIP LOCKED

-- aggregate --
-- Exactly the rows of the claimed batches ($1, ascending), one row an org, hour and model. Their range says nothing new,
-- but without it, and without statistics, the planner expects a tenth of the day and reads the whole identity index.
INSERT INTO fold_delta
SELECT
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    histogram.*, first_event_at, last_event_at
FROM (
    SELECT
        org_id,
        date_bin('1 hour', occurred_at, 'epoch') AS bucket_start,
        model_id,
        count(*) AS invocations,
        count(*) FILTER (WHERE status = 'error') AS error_count,
        count(*) FILTER (WHERE status = 'timeout') AS timeout_count,
        count(*) FILTER (WHERE status = 'throttled') AS throttled_count,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        sum(cached_input_tokens) AS cached_input_tokens,
        sum(reasoning_tokens) AS reasoning_tokens,
        analytics.bigint_sum(cost_microcents) AS cost_microcents,
        array_agg(analytics.latency_bin(latency_ms)) AS latencies,
        min(occurred_at) AS first_event_at,
        max(occurred_at) AS last_event_at
    FROM analytics.usage_events
    WHERE batch_id = ANY ($1::bigint[])
        AND batch_id BETWEEN ($1::bigint[])[1] AND ($1::bigint[])[cardinality($1::bigint[])]
        AND occurred_at BETWEEN $2 AND $3
    GROUP BY org_id, date_bin('1 hour', occurred_at, 'epoch'), model_id
) AS hours
CROSS JOIN LATERAL analytics.histogram_of(hours.latencies) AS histogram

-- delta_totals --
-- How many events were found, and the first $1 of the organisations that they belong to.
SELECT
    coalesce(sum(invocations), 0)::bigint AS events,
    (
        SELECT array_agg(org_id)
        FROM (SELECT DISTINCT org_id FROM fold_delta ORDER BY org_id LIMIT $1) AS organisations
    ) AS org_ids
FROM fold_delta

-- note_freshness --
-- The newest visible event of each model, and that its numbers have just moved, in the trace $1.
INSERT INTO analytics.freshness_status AS stored (org_id, model_id, last_event_at, last_rollup_at, traceparent)
SELECT org_id, model_id, max(last_event_at), now(), $1
FROM fold_delta
GROUP BY org_id, model_id
ORDER BY org_id, model_id
ON CONFLICT (org_id, model_id) DO UPDATE SET
    last_event_at = greatest(stored.last_event_at, EXCLUDED.last_event_at),
    last_rollup_at = greatest(stored.last_rollup_at, EXCLUDED.last_rollup_at),
    traceparent = EXCLUDED.traceparent

-- mark_folded --
-- In the same transaction as the numbers: this line is what makes a fold happen once.
UPDATE analytics.ingestion_batches
SET folded_at = clock_timestamp()
WHERE batch_id = ANY ($1::bigint[]) AND folded_at IS NULL
