-- hourly_usage --
-- What an hourly export is made of; the columns of the sources are the same.
SELECT bucket_start, model_id, invocations, error_count, timeout_count, throttled_count, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, cost_microcents
FROM analytics.usage_hourly
WHERE org_id = $1::uuid AND bucket_start >= $2::timestamptz AND bucket_start < $3::timestamptz
    AND (cardinality($4::text[]) = 0 OR model_id = ANY ($4::text[]))

-- daily_usage --
-- What a daily export is made of.
SELECT bucket_start, model_id, invocations, error_count, timeout_count, throttled_count, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, cost_microcents
FROM analytics.usage_daily
WHERE org_id = $1::uuid AND bucket_start >= $2::timestamptz AND bucket_start < $3::timestamptz
    AND (cardinality($4::text[]) = 0 OR model_id = ANY ($4::text[]))

-- monthly_usage --
-- A month is the sum of its UTC days, of those within the range.
SELECT date_trunc('month', bucket_start, 'UTC') AS bucket_start, model_id, sum(invocations) AS invocations,
    sum(error_count) AS error_count, sum(timeout_count) AS timeout_count, sum(throttled_count) AS throttled_count,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cached_input_tokens) AS cached_input_tokens, sum(reasoning_tokens) AS reasoning_tokens,
    sum(cost_microcents) AS cost_microcents
FROM analytics.usage_daily
WHERE org_id = $1::uuid AND bucket_start >= $2::timestamptz AND bucket_start < $3::timestamptz
    AND (cardinality($4::text[]) = 0 OR model_id = ANY ($4::text[]))
GROUP BY date_trunc('month', bucket_start, 'UTC'), model_id

-- events --
-- The raw events that match every filter; an empty list filters nothing. Events that no fold has counted yet are in.
SELECT occurred_at, event_id, model_id, status, error_code, latency_ms, client_id, actor_id, metadata,
    1 AS invocations, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents
FROM analytics.visible_events
WHERE org_id = $1::uuid AND occurred_at >= $2::timestamptz AND occurred_at < $3::timestamptz
    AND (cardinality($4::text[]) = 0 OR model_id = ANY ($4::text[]))
    AND (cardinality($5::text[]) = 0 OR status = ANY ($5::text[]))
    AND (cardinality($6::text[]) = 0 OR client_id = ANY ($6::text[]))
    AND (cardinality($7::text[]) = 0 OR actor_id = ANY ($7::text[]))
    AND (cardinality($8::text[]) = 0 OR left(metadata ->> 'project', 200) = ANY ($8::text[]))
    AND (cardinality($9::text[]) = 0 OR error_code = ANY ($9::text[]))

-- sums --
-- What the rows of `source` add up to, in the snapshot that the file is written from.
SELECT count(*) AS row_count, coalesce(sum(invocations), 0)::text AS events,
    coalesce(sum(input_tokens), 0)::text AS input_tokens, coalesce(sum(output_tokens), 0)::text AS output_tokens,
    coalesce(sum(cached_input_tokens), 0)::text AS cached_input_tokens,
    coalesce(sum(reasoning_tokens), 0)::text AS reasoning_tokens,
    coalesce(sum(cost_microcents), 0)::text AS cost_microcents
FROM source
