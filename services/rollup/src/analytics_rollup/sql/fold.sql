-- create_delta --
-- What the claimed batches add, by hour. Made once a connection, empty again after every transaction.
CREATE TEMP TABLE IF NOT EXISTS fold_delta ON COMMIT DELETE ROWS AS
SELECT
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, first_event_at, last_event_at
FROM analytics.usage_hourly
WITH NO DATA

-- plan_with_values --
-- Plans that know the batches' time bounds look at those days' chunks alone; a plan for any values locks and opens all
-- of them. The newest batches are younger than any statistics, so the planner expects few rows and would sort 200,000
-- events where hashing takes half the time; the memory is a bound on such estimates, too (measured use: 10 MB).
SELECT
    set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_sort', 'off', true),
    set_config('work_mem', '256MB', true)

-- claim --
-- The oldest batches that nobody folds at this moment; $2 asks for one of them alone, $3 leaves some out.
SELECT batch_id, stored_count, occurred_min, occurred_max, first_chunk_at
FROM analytics.ingestion_batches
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
    histogram.bins, histogram.counts, first_event_at, last_event_at
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
        array_agg(analytics.latency_bin(latency_ms)) AS bins,
        min(occurred_at) AS first_event_at,
        max(occurred_at) AS last_event_at
    FROM analytics.usage_events
    WHERE batch_id = ANY ($1::bigint[])
        AND batch_id BETWEEN ($1::bigint[])[1] AND ($1::bigint[])[cardinality($1::bigint[])]
        AND occurred_at BETWEEN $2 AND $3
    GROUP BY org_id, date_bin('1 hour', occurred_at, 'epoch'), model_id
) AS hours
CROSS JOIN LATERAL (
    SELECT array_agg(bin) AS bins, array_agg(calls) AS counts
    FROM (
        SELECT bin, count(*) AS calls FROM (SELECT unnest(hours.bins) AS bin) AS entries GROUP BY bin ORDER BY bin
    ) AS summed
) AS histogram

-- delta_totals --
-- How many events were found, and the first $1 of the organisations that they belong to.
SELECT
    coalesce(sum(invocations), 0)::bigint AS events,
    (
        SELECT array_agg(org_id)
        FROM (SELECT DISTINCT org_id FROM fold_delta ORDER BY org_id LIMIT $1) AS organisations
    ) AS org_ids
FROM fold_delta

-- merge_buckets --
-- Adds the delta to buckets $1 wide; run for the hours as it stands and for the days with the other table's name.
-- Everybody locks the rows in the order of their key. A bucket counts as closed when the broker accepted the oldest
-- event of the delta ($3) later than $2 after the bucket's end: no reader has seen the bucket finalized unless
-- that is so, because these batches have held the watermark back until now.
INSERT INTO analytics.usage_hourly AS stored (
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, latency_merged, first_event_at, last_event_at, revision, revised_at
)
SELECT
    org_id, bucket, model_id,
    analytics.bigint_sum(invocations), analytics.bigint_sum(error_count), analytics.bigint_sum(timeout_count),
    analytics.bigint_sum(throttled_count), analytics.bigint_sum(input_tokens), analytics.bigint_sum(output_tokens),
    analytics.bigint_sum(cached_input_tokens), analytics.bigint_sum(reasoning_tokens),
    analytics.bigint_sum(cost_microcents),
    analytics.array_concat(latency_bins), analytics.array_concat(latency_counts),
    CASE count(*) WHEN 1 THEN sum(cardinality(latency_bins)) ELSE 0 END,
    min(first_event_at), max(last_event_at),
    (bucket + $1 + $2 <= $3)::integer,
    CASE WHEN bucket + $1 + $2 <= $3 THEN now() END
FROM fold_delta, date_bin($1::interval, bucket_start, 'epoch') AS bucket
GROUP BY org_id, bucket, model_id
ORDER BY org_id, bucket, model_id
ON CONFLICT (org_id, bucket_start, model_id) DO UPDATE SET
    invocations = stored.invocations + EXCLUDED.invocations,
    error_count = stored.error_count + EXCLUDED.error_count,
    timeout_count = stored.timeout_count + EXCLUDED.timeout_count,
    throttled_count = stored.throttled_count + EXCLUDED.throttled_count,
    input_tokens = stored.input_tokens + EXCLUDED.input_tokens,
    output_tokens = stored.output_tokens + EXCLUDED.output_tokens,
    cached_input_tokens = stored.cached_input_tokens + EXCLUDED.cached_input_tokens,
    reasoning_tokens = stored.reasoning_tokens + EXCLUDED.reasoning_tokens,
    cost_microcents = stored.cost_microcents + EXCLUDED.cost_microcents,
    (latency_bins, latency_counts, latency_merged) = (
        SELECT appended.*
        FROM analytics.histogram_append(
            stored.latency_bins, stored.latency_counts, stored.latency_merged,
            EXCLUDED.latency_bins, EXCLUDED.latency_counts
        ) AS appended
    ),
    first_event_at = least(stored.first_event_at, EXCLUDED.first_event_at),
    last_event_at = greatest(stored.last_event_at, EXCLUDED.last_event_at),
    revision = stored.revision + EXCLUDED.revision,
    revised_at = coalesce(EXCLUDED.revised_at, stored.revised_at)

-- note_freshness --
-- The newest visible event of each model, and that its numbers have just moved.
INSERT INTO analytics.freshness_status AS stored (org_id, model_id, last_event_at, last_rollup_at)
SELECT org_id, model_id, max(last_event_at), now()
FROM fold_delta
GROUP BY org_id, model_id
ORDER BY org_id, model_id
ON CONFLICT (org_id, model_id) DO UPDATE SET
    last_event_at = greatest(stored.last_event_at, EXCLUDED.last_event_at),
    last_rollup_at = greatest(stored.last_rollup_at, EXCLUDED.last_rollup_at)

-- mark_folded --
-- In the same transaction as the numbers: this line is what makes a fold happen once.
UPDATE analytics.ingestion_batches
SET folded_at = clock_timestamp()
WHERE batch_id = ANY ($1::bigint[]) AND folded_at IS NULL
