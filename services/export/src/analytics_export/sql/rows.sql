-- progress --
-- Up to which day the daily tables of the rollup families are complete; the planner's other input.
SELECT family, daily_through FROM analytics.rollup_progress

-- retained --
-- The time before which retention has dropped the rows of a table.
SELECT table_name, dropped_before FROM analytics.retained

-- events --
-- The raw events that match every filter; an empty list filters nothing.
SELECT occurred_at, event_id, model_id, status, error_code, latency_ms, client_id, actor_id, project, metadata,
    1 AS invocations, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents
FROM analytics.visible_events
WHERE org_id = $1::uuid AND occurred_at >= $2::timestamptz AND occurred_at < $3::timestamptz
    AND (cardinality($4::text[]) = 0 OR model_id = ANY ($4::text[]))
    AND (cardinality($5::text[]) = 0 OR status = ANY ($5::text[]))
    AND (cardinality($6::text[]) = 0 OR client_id = ANY ($6::text[]))
    AND (cardinality($7::text[]) = 0 OR actor_id = ANY ($7::text[]))
    AND (cardinality($8::text[]) = 0 OR project = ANY ($8::text[]))
    AND (cardinality($9::text[]) = 0 OR error_code = ANY ($9::text[]))
    AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE folded_at IS NULL)

-- chargeback --
-- By what the rollups do not know together: counted from the raw events, in the buckets that start at $10.
SELECT ($10::timestamptz[])[width_bucket(occurred_at, $10::timestamptz[])] AS bucket_start,
    project, coalesce(left(metadata ->> 'team', 200), '') AS team,
    coalesce(client_id, '') AS client_id, count(*) AS invocations, sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens, sum(cached_input_tokens) AS cached_input_tokens,
    sum(reasoning_tokens) AS reasoning_tokens, sum(cost_microcents) AS cost_microcents
FROM analytics.visible_events
WHERE org_id = $1::uuid AND occurred_at >= $2::timestamptz AND occurred_at < $3::timestamptz
    AND (cardinality($4::text[]) = 0 OR model_id = ANY ($4::text[]))
    AND (cardinality($5::text[]) = 0 OR status = ANY ($5::text[]))
    AND (cardinality($6::text[]) = 0 OR client_id = ANY ($6::text[]))
    AND (cardinality($7::text[]) = 0 OR actor_id = ANY ($7::text[]))
    AND (cardinality($8::text[]) = 0 OR project = ANY ($8::text[]))
    AND (cardinality($9::text[]) = 0 OR error_code = ANY ($9::text[]))
    AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE folded_at IS NULL)
GROUP BY 1, 2, 3, 4

-- sums --
-- What the rows of `source` add up to, in the snapshot that the file is written from.
SELECT count(*) AS row_count, coalesce(sum(invocations), 0)::text AS events,
    coalesce(sum(input_tokens), 0)::text AS input_tokens, coalesce(sum(output_tokens), 0)::text AS output_tokens,
    coalesce(sum(cached_input_tokens), 0)::text AS cached_input_tokens,
    coalesce(sum(reasoning_tokens), 0)::text AS reasoning_tokens,
    coalesce(sum(cost_microcents), 0)::text AS cost_microcents
FROM source
