-- known_models --
-- freshness_status has a row for each model that was ever folded.
SELECT coalesce(array_agg(model_id), '{}') FROM analytics.freshness_status
WHERE org_id = $1 AND model_id = ANY ($2::text[])

-- recent_models --
-- What a caller may have meant.
SELECT coalesce(array_agg(model_id ORDER BY model_id), '{}') FROM (
    SELECT model_id FROM analytics.freshness_status WHERE org_id = $1 ORDER BY last_event_at DESC, model_id LIMIT $2
) AS recent
