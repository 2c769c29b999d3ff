-- Where the trace goes on: of a batch's span in the fold's, and of the last fold's in the spans of whoever asks. W3C
-- `traceparent`; null where no collector is configured.
ALTER TABLE analytics.ingestion_batches ADD COLUMN traceparent text;
ALTER TABLE analytics.freshness_status ADD COLUMN traceparent text;
