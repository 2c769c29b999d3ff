-- The limit on dead letters in a row goes on exactly where the last committed batch ended. Batches of the previous release
-- say 0: a run that one of them began among good messages is forgotten, as that release does.
ALTER TABLE analytics.ingestion_batches ADD COLUMN rejected_tail_count integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN analytics.ingestion_batches.rejected_tail_count IS 'With how many dead letters in a row the batch ends.';
