-- hourly_usage --
-- What an hourly export is made of; the columns of the three sources are the same.
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

-- usage_rows --
-- The file, from one of the sources above as `usage`. The names are its header; contracts/exports/usage-csv.md explains
-- them. A UNION ALL of the sources would be one statement, but sorts a million rows where this walks the primary key.
SELECT
    to_char(usage.bucket_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS bucket_start,
    $1::uuid AS organization_id,
    -- A spreadsheet runs a cell that begins with one of these as a formula; a leading apostrophe makes it text. An
    -- apostrophe of the id's own is doubled, so that dropping one always gives the id back.
    CASE WHEN strpos(E'=+-@\t\r\n''＝＋－＠', left(usage.model_id, 1)) > 0
        THEN '''' || usage.model_id ELSE usage.model_id END AS model_id,
    invocations AS request_count,
    invocations - error_count - timeout_count - throttled_count AS success_count,
    error_count,
    timeout_count,
    throttled_count,
    input_tokens,
    output_tokens,
    cached_input_tokens,
    reasoning_tokens,
    input_tokens + output_tokens AS tokens_total,
    -- An integer times a numeric of six decimals is exact and has six decimals.
    cost_microcents * 0.000001 AS cost_estimate_cents
FROM usage
ORDER BY usage.bucket_start, usage.model_id
