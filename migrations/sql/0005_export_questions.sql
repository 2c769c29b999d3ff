-- What an export was asked for beyond range and models, and what proves its file.
ALTER TABLE analytics.export_jobs
    ADD COLUMN template text NOT NULL DEFAULT 'full',
    ADD COLUMN timezone text NOT NULL DEFAULT 'UTC',
    ADD COLUMN group_by text[] NOT NULL DEFAULT '{model}',
    ADD COLUMN filters jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN parameters_sha256 text,
    ADD COLUMN totals jsonb,
    ADD COLUMN watermark timestamptz,
    ADD COLUMN confidence text,
    ADD COLUMN revision integer,
    -- tidy: narrowing — its successor below allows more
    DROP CONSTRAINT export_jobs_granularity,
    -- tidy: narrowing — allows more than the one dropped above
    ADD CONSTRAINT export_jobs_granularity CHECK (granularity IN ('hourly', 'daily', 'monthly', 'events')),
    -- tidy: narrowing — of a new column
    ADD CONSTRAINT export_jobs_confidence CHECK (confidence IN ('estimated', 'finalized'));
COMMENT ON COLUMN analytics.export_jobs.filters IS 'Lists of accepted values by parameter name; models are in model_ids.';
COMMENT ON COLUMN analytics.export_jobs.parameters_sha256 IS 'Equal for exports that ask for the same thing: their files are revisions of each other.';
COMMENT ON COLUMN analytics.export_jobs.totals IS 'Sums over the rows of the file, from the snapshot that it was written from.';
COMMENT ON COLUMN analytics.export_jobs.watermark IS 'analytics.watermark() of that snapshot; null is unknown.';
CREATE INDEX export_jobs_revisions ON analytics.export_jobs (org_id, parameters_sha256, revision) WHERE revision IS NOT NULL;
