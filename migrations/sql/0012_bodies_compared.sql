-- A body is compared column by column with the stored row: exact, and free where nothing is repeated. The previous
-- release still writes the hash; when it is gone, so can the column be.
ALTER TABLE analytics.usage_events ALTER COLUMN body_hash DROP NOT NULL;
COMMENT ON COLUMN analytics.usage_events.body_hash IS 'No longer written or read: bodies are compared by their columns.';
