-- differing --
-- Buckets that do not say what they have to; written for the hours, run for the days with the other names.
WITH expected AS MATERIALIZED (
    SELECT * FROM analytics.recount_hours($1, $2, $3)
),
stored AS MATERIALIZED (
    SELECT
        org_id, bucket_start, model_id,
        invocations, error_count, timeout_count, throttled_count,
        input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
        histogram.bins, histogram.counts, first_event_at, last_event_at
    FROM analytics.usage_hourly
    CROSS JOIN LATERAL analytics.histogram_merge(latency_bins, latency_counts) AS histogram
    WHERE bucket_start >= $1 AND bucket_start < $2 AND ($3::uuid IS NULL OR org_id = $3)
)
SELECT DISTINCT org_id, bucket_start, model_id
FROM (
    (SELECT * FROM expected EXCEPT SELECT * FROM stored)
    UNION ALL
    (SELECT * FROM stored EXCEPT SELECT * FROM expected)
) AS differences
ORDER BY bucket_start, org_id, model_id

-- lock_rollups --
-- Waits for the folds under way and holds back new ones, so that a recount and what it replaces see the same batches.
LOCK TABLE analytics.usage_hourly, analytics.usage_daily IN SHARE ROW EXCLUSIVE MODE

-- remove_ghosts --
-- Buckets among the differing ones ($4 to $6) for which there is no event.
DELETE FROM analytics.usage_hourly AS stored
USING unnest($4::uuid[], $5::timestamptz[], $6::text[]) AS differing (org_id, bucket_start, model_id)
WHERE stored.org_id = differing.org_id
    AND stored.bucket_start = differing.bucket_start
    AND stored.model_id = differing.model_id
    AND (stored.org_id, stored.bucket_start, stored.model_id) NOT IN (
        SELECT org_id, bucket_start, model_id FROM analytics.recount_hours($1, $2, $3)
    )

-- replace_buckets --
-- The differing buckets as they have to be. A repair is a revision: somebody may have read the wrong number.
INSERT INTO analytics.usage_hourly AS stored (
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, latency_merged, first_event_at, last_event_at, revision, revised_at
)
SELECT
    org_id, bucket_start, model_id,
    invocations, error_count, timeout_count, throttled_count,
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents,
    latency_bins, latency_counts, cardinality(latency_bins), first_event_at, last_event_at, 1, now()
FROM analytics.recount_hours($1, $2, $3)
INNER JOIN unnest($4::uuid[], $5::timestamptz[], $6::text[]) AS differing (org_id, bucket_start, model_id)
    USING (org_id, bucket_start, model_id)
ON CONFLICT (org_id, bucket_start, model_id) DO UPDATE SET
    invocations = EXCLUDED.invocations,
    error_count = EXCLUDED.error_count,
    timeout_count = EXCLUDED.timeout_count,
    throttled_count = EXCLUDED.throttled_count,
    input_tokens = EXCLUDED.input_tokens,
    output_tokens = EXCLUDED.output_tokens,
    cached_input_tokens = EXCLUDED.cached_input_tokens,
    reasoning_tokens = EXCLUDED.reasoning_tokens,
    cost_microcents = EXCLUDED.cost_microcents,
    latency_bins = EXCLUDED.latency_bins,
    latency_counts = EXCLUDED.latency_counts,
    latency_merged = EXCLUDED.latency_merged,
    first_event_at = EXCLUDED.first_event_at,
    last_event_at = EXCLUDED.last_event_at,
    revision = stored.revision + 1,
    revised_at = EXCLUDED.revised_at

-- totals --
-- The sums that have to be equal, over whole days. Events of batches that wait to be folded are not meant to be in.
SELECT 'usage_events' AS table_name, count(*) AS calls, coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
    coalesce(sum(output_tokens), 0)::bigint AS output_tokens, coalesce(sum(cost_microcents), 0)::bigint AS microcents
FROM analytics.usage_events
WHERE occurred_at >= $1 AND occurred_at < $2 AND ($3::uuid IS NULL OR org_id = $3)
    AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE folded_at IS NULL)
UNION ALL
SELECT 'usage_hourly', coalesce(sum(invocations), 0)::bigint, coalesce(sum(input_tokens), 0)::bigint,
    coalesce(sum(output_tokens), 0)::bigint, coalesce(sum(cost_microcents), 0)::bigint
FROM analytics.usage_hourly
WHERE bucket_start >= $1 AND bucket_start < $2 AND ($3::uuid IS NULL OR org_id = $3)
UNION ALL
SELECT 'usage_daily', coalesce(sum(invocations), 0)::bigint, coalesce(sum(input_tokens), 0)::bigint,
    coalesce(sum(output_tokens), 0)::bigint, coalesce(sum(cost_microcents), 0)::bigint
FROM analytics.usage_daily
WHERE bucket_start >= $1 AND bucket_start < $2 AND ($3::uuid IS NULL OR org_id = $3)

-- sample_organisations --
-- Some of the organisations with calls in an hour ($1), but none whose day ($2) would take long to count.
SELECT org_id
FROM analytics.usage_daily
WHERE bucket_start = $2
    AND org_id IN (SELECT org_id FROM analytics.usage_hourly WHERE bucket_start = $1)
GROUP BY org_id
HAVING sum(invocations) <= $3
ORDER BY random()
LIMIT $4

-- watermark --
-- Until when buckets can be expected to be complete.
SELECT analytics.watermark()
