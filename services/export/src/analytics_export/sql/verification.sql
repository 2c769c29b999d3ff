-- raw_buckets --
-- The events of each bucket that starts at $10, as far as the rollups have counted them ($11: those by model); filters as in an
-- export.
SELECT ($10::timestamptz[])[width_bucket(occurred_at, $10::timestamptz[])] AS bucket_start, count(*),
    sum(input_tokens), sum(output_tokens), sum(cached_input_tokens), sum(reasoning_tokens), sum(cost_microcents)
FROM analytics.visible_events
WHERE org_id = $1::uuid AND occurred_at >= $2::timestamptz AND occurred_at < $3::timestamptz
    AND (cardinality($4::text[]) = 0 OR model_id = ANY ($4::text[]))
    AND (cardinality($5::text[]) = 0 OR status = ANY ($5::text[]))
    AND (cardinality($6::text[]) = 0 OR client_id = ANY ($6::text[]))
    AND (cardinality($7::text[]) = 0 OR actor_id = ANY ($7::text[]))
    AND (cardinality($8::text[]) = 0 OR project = ANY ($8::text[]))
    AND (cardinality($9::text[]) = 0 OR error_code = ANY ($9::text[]))
    AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE folded_at IS NULL)
    AND ($11 OR batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL))
GROUP BY 1
