-- differing --
-- Buckets that do not say what they have to, and what both sides say (null: no such bucket); written for the hours of
-- models, run for every rollup with its own names.
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
SELECT
    org_id, bucket_start, model_id,
    min(invocations) FILTER (WHERE is_stored) AS stored_calls,
    min(cost_microcents) FILTER (WHERE is_stored) AS stored_microcents,
    min(invocations) FILTER (WHERE NOT is_stored) AS recounted_calls,
    min(cost_microcents) FILTER (WHERE NOT is_stored) AS recounted_microcents
FROM (
    SELECT false AS is_stored, missing.* FROM (SELECT * FROM expected EXCEPT SELECT * FROM stored) AS missing
    UNION ALL
    SELECT true AS is_stored, wrong.* FROM (SELECT * FROM stored EXCEPT SELECT * FROM expected) AS wrong
) AS differences
GROUP BY org_id, bucket_start, model_id
ORDER BY org_id, bucket_start, model_id

-- lock_rollup --
-- Waits for the folds under way and holds back new ones, so that a recount and what it replaces see the same batches.
LOCK TABLE analytics.usage_hourly IN SHARE ROW EXCLUSIVE MODE

-- remove_ghosts --
-- Buckets among the differing ones ($4 to $6) for which there is no event.
DELETE FROM analytics.usage_hourly AS stored
USING unnest($4::uuid[], $5::timestamptz[], $6::text[]) AS differing (org_id, bucket_start, key)
WHERE stored.org_id = differing.org_id
    AND stored.bucket_start = differing.bucket_start
    AND stored.model_id = differing.key
    AND (stored.org_id, stored.bucket_start, stored.model_id) NOT IN (
        SELECT recounted.org_id, recounted.bucket_start, recounted.model_id
        FROM analytics.recount_hours($1, $2, $3) AS recounted
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
FROM analytics.recount_hours($1, $2, $3) AS recounted
WHERE (recounted.org_id, recounted.bucket_start, recounted.model_id) IN (
    SELECT * FROM unnest($4::uuid[], $5::timestamptz[], $6::text[])
)
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

-- revise_days --
-- The days of replaced hours ($1 and $2), in the same transaction: who holds a day's hours sees by its own row that they
-- have changed, even where only the hours were wrong.
UPDATE analytics.usage_daily AS stored
SET revision = revision + 1, revised_at = now()
FROM (
    SELECT DISTINCT org_id, date_bin('1 day', hour, 'epoch') AS day
    FROM unnest($1::uuid[], $2::timestamptz[]) AS replaced (org_id, hour)
) AS days
WHERE stored.org_id = days.org_id AND stored.bucket_start = days.day

-- totals --
-- The sums of each organisation that have to be equal, over whole days. Events of batches that wait to be folded are
-- not meant to be in; those that wait for their dimensions alone are in the first two tables.
SELECT 'usage_events' AS table_name, org_id, count(*) AS calls, sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens, sum(cost_microcents)::bigint AS microcents
FROM analytics.usage_events
WHERE occurred_at >= $1 AND occurred_at < $2 AND ($3::uuid IS NULL OR org_id = $3)
    AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE folded_at IS NULL)
GROUP BY org_id
UNION ALL
SELECT 'usage_hourly', org_id, sum(invocations)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint,
    sum(cost_microcents)::bigint
FROM analytics.usage_hourly
WHERE bucket_start >= $1 AND bucket_start < $2 AND ($3::uuid IS NULL OR org_id = $3)
GROUP BY org_id
UNION ALL
SELECT 'usage_daily', org_id, sum(invocations)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint,
    sum(cost_microcents)::bigint
FROM analytics.usage_daily
WHERE bucket_start >= $1 AND bucket_start < $2 AND ($3::uuid IS NULL OR org_id = $3)
GROUP BY org_id
UNION ALL
SELECT 'usage_quarter_hourly', org_id, sum(invocations)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint,
    sum(cost_microcents)::bigint
FROM analytics.usage_quarter_hourly
WHERE bucket_start >= $1 AND bucket_start < $2 AND ($3::uuid IS NULL OR org_id = $3)
GROUP BY org_id
UNION ALL
SELECT 'usage_detail_hourly', org_id, sum(invocations)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint,
    sum(cost_microcents)::bigint
FROM analytics.usage_detail_hourly
WHERE bucket_start >= $1 AND bucket_start < $2 AND ($3::uuid IS NULL OR org_id = $3)
GROUP BY org_id
UNION ALL
SELECT 'usage_actor_hourly', org_id, sum(invocations)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint,
    sum(cost_microcents)::bigint
FROM analytics.usage_actor_hourly
WHERE bucket_start >= $1 AND bucket_start < $2 AND ($3::uuid IS NULL OR org_id = $3)
GROUP BY org_id

-- retained_since --
-- Before this time events or rollups have been dropped: what is left of the others could only be compared with nothing.
SELECT max(dropped_before) FROM analytics.retained WHERE table_name <> 'audit_log'

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
