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
