-- pipeline --
-- How far the rollups are, for all organisations, and whether a committed batch still waits to be folded.
SELECT
    analytics.watermark() AS watermark,
    EXISTS (SELECT FROM analytics.ingestion_batches WHERE folded_at IS NULL) AS unfolded

-- models --
-- The newest folded event of each model of one organisation. Ordered, so that equal facts are equal bytes.
SELECT model_id, last_event_at, last_rollup_at
FROM analytics.freshness_status
WHERE org_id = $1
ORDER BY model_id

-- state --
-- All that an answer needs to know beside its numbers, in one round trip: how far both folds and the daily tables of the
-- families are, what retention has dropped of each table, and the newest event of the scope's organisations.
SELECT
    analytics.watermark() AS watermark,
    EXISTS (SELECT FROM analytics.ingestion_batches WHERE folded_at IS NULL) AS unfolded,
    analytics.dimensions_watermark() AS dimensions_watermark,
    EXISTS (SELECT FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL) AS dimensions_unfolded,
    (SELECT daily_through FROM analytics.rollup_progress WHERE family = 'detail') AS detail,
    (SELECT daily_through FROM analytics.rollup_progress WHERE family = 'actor') AS actor,
    (SELECT json_object_agg(table_name, dropped_before) FROM analytics.retained) AS dropped,
    max(last_event_at) AS last_event_at,
    max(last_rollup_at) AS last_rollup_at
FROM analytics.freshness_status
WHERE org_id = $1 OR $1 IS NULL

-- last_fold --
-- The trace of the last fold that moved an organisation's numbers.
SELECT traceparent FROM analytics.freshness_status WHERE org_id = $1 ORDER BY last_rollup_at DESC LIMIT 1

-- organisations --
-- Those that ever had an event, for questions across them: with their ids the rollups' indexes can be used.
SELECT DISTINCT org_id FROM analytics.freshness_status
