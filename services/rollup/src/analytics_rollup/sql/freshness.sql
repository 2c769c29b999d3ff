-- backlog --
-- Where the watermark stands, and what waits to be folded.
SELECT
    analytics.watermark() AS watermark,
    count(*) AS batches,
    extract(epoch FROM clock_timestamp() - min(committed_at))::double precision AS oldest_age_seconds
FROM analytics.ingestion_batches
WHERE folded_at IS NULL
