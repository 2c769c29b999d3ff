-- backlog --
-- Where the watermarks stand, and what waits to be folded.
SELECT
    analytics.watermark() AS watermark,
    analytics.dimensions_watermark() AS dimensions_watermark,
    (SELECT count(*) FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL) AS without_dimensions,
    count(*) AS batches,
    extract(epoch FROM clock_timestamp() - min(committed_at))::double precision AS oldest_age_seconds
FROM analytics.ingestion_batches
WHERE folded_at IS NULL
