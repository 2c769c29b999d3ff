-- open_day --
-- A family whose oldest open day ended longer than $1 ago; nobody else closes it, no fold adds to it meanwhile.
SELECT family, daily_through
FROM analytics.rollup_progress
WHERE daily_through + INTERVAL '1 day' + $1::interval <= clock_timestamp()
ORDER BY daily_through, family
LIMIT 1
FOR UPDATE SKIP LOCKED

-- sum_day --
-- The day of $1 to $2 from its hours; written for models, run for other families with their own names. It
-- has been revised as often as its hours together: that is what it was shown with while it was open.
INSERT INTO analytics.usage_daily (
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, latency_merged, first_event_at, last_event_at, revision, revised_at
)
SELECT
    org_id, $1, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    histogram.*, first_event_at, last_event_at, revision, revised_at
FROM (
    SELECT
        org_id, model_id,
        sum(invocations)::bigint AS invocations, sum(error_count)::bigint AS error_count,
        sum(timeout_count)::bigint AS timeout_count, sum(throttled_count)::bigint AS throttled_count,
        sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
        sum(cached_input_tokens)::bigint AS cached_input_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens,
        sum(cost_microcents)::bigint AS cost_microcents,
        analytics.array_concat(latency_bins) AS bins, analytics.array_concat(latency_counts) AS counts,
        min(first_event_at) AS first_event_at, max(last_event_at) AS last_event_at,
        sum(revision)::integer AS revision,
        max(revised_at) AS revised_at
    FROM analytics.usage_hourly
    WHERE bucket_start >= $1 AND bucket_start < $2
    GROUP BY org_id, model_id
) AS days
CROSS JOIN LATERAL analytics.histogram_append('{}', '{}', 0::smallint, days.bins, days.counts) AS histogram
ORDER BY org_id, model_id

-- close_day --
-- From now on late events are added to the day itself.
UPDATE analytics.rollup_progress SET daily_through = $2 WHERE family = $1
