-- plan_with_values --
-- Plans that know the batches' time bounds look at those days' chunks alone; a plan for any values locks and opens all
-- of them. The newest batches are younger than any statistics, so the planner expects few rows and would sort 200,000
-- events where hashing takes half the time; the memory is a bound on such estimates, too (measured use: 10 MB).
-- Histograms of hot buckets are compressed anew each time: lz4, where the server has it, saves a quarter of the update.
SELECT
    set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_sort', 'off', true),
    set_config('enable_incremental_sort', 'off', true),
    set_config('work_mem', '256MB', true),
    CASE WHEN (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression')
    THEN set_config('default_toast_compression', 'lz4', true) END

-- take_turn --
-- Folds of one stage read and aggregate side by side, and write one after the other: they would wait for each other's
-- hot rows anyway, one by one. Until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended($1, 0))

-- merge_buckets --
-- Adds a delta to buckets $1 wide that begin before $4; written for the hours of models, run for every rollup with its
-- own names. Everybody locks the rows in the order of their key. A bucket counts as closed when the broker accepted the
-- oldest event of the delta ($3) later than $2 after the bucket's end: no reader has seen the bucket finalized unless
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
    CASE count(*) WHEN 1 THEN min(latency_merged) ELSE 0 END,
    min(first_event_at), max(last_event_at),
    (bucket + $1 + $2 <= $3)::integer,
    CASE WHEN bucket + $1 + $2 <= $3 THEN now() END
FROM fold_delta, date_bin($1::interval, bucket_start, 'epoch') AS bucket
WHERE bucket_start < $4
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
