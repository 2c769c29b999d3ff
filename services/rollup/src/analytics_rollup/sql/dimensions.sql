-- create_detail_delta --
-- What the claimed batches add to the family detail, by quarters of an hour. Empty again after every transaction.
CREATE TEMP TABLE IF NOT EXISTS detail_delta ON COMMIT DELETE ROWS AS
SELECT
    org_id, bucket_start, series, model_id, client_id, project, status, error_code,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, latency_merged, first_event_at, last_event_at
FROM analytics.usage_detail_hourly
WITH NO DATA

-- create_actor_delta --
-- The same for the family actor, by hour.
CREATE TEMP TABLE IF NOT EXISTS actor_delta ON COMMIT DELETE ROWS AS
SELECT
    org_id, bucket_start, series, actor_id, model_id, status, error_code,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, latency_merged, first_event_at, last_event_at
FROM analytics.usage_actor_hourly
WITH NO DATA

-- create_quarter_delta --
-- The same for the family quarter.
CREATE TEMP TABLE IF NOT EXISTS quarter_delta ON COMMIT DELETE ROWS AS
SELECT
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, latency_merged, first_event_at, last_event_at
FROM analytics.usage_quarter_hourly
WITH NO DATA

-- claim_folded --
-- The oldest batches without dimensions that nobody folds at this moment; $2 asks for one of them alone, $3 leaves some
-- out. Only those that the model fold is done with: it skips rows that are locked, and must not wait for seconds.
SELECT
    batch_id, occurred_min, occurred_max, first_chunk_at, traceparent,
    stored_count - coalesce(
        (SELECT erased_count FROM analytics.erased_events AS erased WHERE erased.batch_id = batches.batch_id), 0
    ) AS stored_count
FROM analytics.ingestion_batches AS batches
WHERE dimensions_folded_at IS NULL AND folded_at IS NOT NULL
    AND ($2::bigint IS NULL OR batch_id = $2) AND batch_id <> ALL ($3::bigint[])
ORDER BY batch_id
LIMIT $1
FOR UPDATE SKIP LOCKED

-- take_time --
-- A fold of many users on a busy machine takes longer than the pool allows a statement, and would never end otherwise.
SET LOCAL statement_timeout = '10min'

-- daily_through --
-- Up to where days are closed. Nobody closes another day until this fold is done.
SELECT family, daily_through FROM analytics.rollup_progress ORDER BY family FOR SHARE

-- aggregate_detail --
-- Exactly the rows of the claimed batches; see `aggregate` for the range of their ids.
INSERT INTO detail_delta
SELECT
    org_id, bucket_start, analytics.series(model_id, client_id, project, status, error_code),
    model_id, client_id, project, status, error_code,
    invocations,
    CASE status WHEN 'error' THEN invocations ELSE 0 END,
    CASE status WHEN 'timeout' THEN invocations ELSE 0 END,
    CASE status WHEN 'throttled' THEN invocations ELSE 0 END,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    histogram.*, first_event_at, last_event_at
FROM (
    SELECT
        org_id,
        date_bin('15 minutes', occurred_at, 'epoch') AS bucket_start,
        model_id,
        coalesce(client_id, '') AS client_id,
        coalesce(project, analytics.project(metadata)) AS project,
        status,
        coalesce(error_code, '') AS error_code,
        count(*) AS invocations,
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
    GROUP BY 1, 2, 3, 4, 5, 6, 7
) AS quarters
CROSS JOIN LATERAL analytics.histogram_of(quarters.latencies) AS histogram

-- aggregate_actors --
-- A second look at the same rows: with the actor in one key with client and project, nearly every event would be a row.
INSERT INTO actor_delta
SELECT
    org_id, bucket_start, analytics.series(actor_id, model_id, status, error_code),
    actor_id, model_id, status, error_code,
    invocations,
    CASE status WHEN 'error' THEN invocations ELSE 0 END,
    CASE status WHEN 'timeout' THEN invocations ELSE 0 END,
    CASE status WHEN 'throttled' THEN invocations ELSE 0 END,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    histogram.*, first_event_at, last_event_at
FROM (
    SELECT
        org_id,
        date_bin('1 hour', occurred_at, 'epoch') AS bucket_start,
        coalesce(actor_id, '') AS actor_id,
        model_id,
        status,
        coalesce(error_code, '') AS error_code,
        count(*) AS invocations,
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
    GROUP BY 1, 2, 3, 4, 5, 6
) AS hours
CROSS JOIN LATERAL analytics.histogram_of(hours.latencies) AS histogram

-- sum_quarters --
-- Models, from the rows that are there already.
INSERT INTO quarter_delta
SELECT
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    histogram.*, first_event_at, last_event_at
FROM (
    SELECT
        org_id, bucket_start, model_id,
        analytics.bigint_sum(invocations) AS invocations, analytics.bigint_sum(error_count) AS error_count,
        analytics.bigint_sum(timeout_count) AS timeout_count, analytics.bigint_sum(throttled_count) AS throttled_count,
        analytics.bigint_sum(input_tokens) AS input_tokens, analytics.bigint_sum(output_tokens) AS output_tokens,
        analytics.bigint_sum(cached_input_tokens) AS cached_input_tokens,
        analytics.bigint_sum(reasoning_tokens) AS reasoning_tokens,
        analytics.bigint_sum(cost_microcents) AS cost_microcents,
        analytics.array_concat(latency_bins) AS bins, analytics.array_concat(latency_counts) AS counts,
        min(first_event_at) AS first_event_at, max(last_event_at) AS last_event_at
    FROM detail_delta
    GROUP BY org_id, bucket_start, model_id
) AS quarters
CROSS JOIN LATERAL analytics.histogram_append('{}', '{}', 0::smallint, quarters.bins, quarters.counts) AS histogram

-- found_events --
-- How many events both looks found: all of them, or the fold is wrong; and the first $1 of the organisations.
SELECT
    (SELECT coalesce(sum(invocations), 0)::bigint FROM detail_delta) AS detail,
    (SELECT coalesce(sum(invocations), 0)::bigint FROM actor_delta) AS actor,
    (
        SELECT array_agg(org_id)
        FROM (SELECT DISTINCT org_id FROM quarter_delta ORDER BY org_id LIMIT $1) AS organisations
    ) AS org_ids

-- mark_dimensions_folded --
-- In the same transaction as the numbers, as folded_at is.
UPDATE analytics.ingestion_batches
SET dimensions_folded_at = clock_timestamp()
WHERE batch_id = ANY ($1::bigint[]) AND dimensions_folded_at IS NULL
