-- Jobs that can be canceled, followed, repeated, swept and announced; schedules that create them.
CREATE TABLE analytics.export_schedules (
    schedule_id     uuid        PRIMARY KEY,
    org_id          uuid        NOT NULL,
    name            text        NOT NULL,
    cron            text        NOT NULL,
    timezone        text        NOT NULL,
    question        jsonb       NOT NULL,
    prefix          text        NOT NULL,
    webhook_url     text,
    enabled         boolean     NOT NULL DEFAULT true,
    created_by      text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at      timestamptz,
    period_start    timestamptz NOT NULL,
    period_end      timestamptz NOT NULL,
    periods_skipped bigint      NOT NULL DEFAULT 0,
    last_job_id     uuid,
    last_error      text,
    CONSTRAINT export_schedules_period CHECK (period_start < period_end)
);
COMMENT ON TABLE analytics.export_schedules IS 'Exports made for each period of a calendar. Written by export alone.';
COMMENT ON COLUMN analytics.export_schedules.period_start IS
    'The next period to export, up to period_end: moved on in the transaction that creates the period''s job.';
COMMENT ON COLUMN analytics.export_schedules.question IS 'What to export, as in the body of an export, without its range.';
CREATE UNIQUE INDEX export_schedules_name ON analytics.export_schedules (org_id, name) WHERE deleted_at IS NULL;
CREATE INDEX export_schedules_due ON analytics.export_schedules (period_end) WHERE enabled AND deleted_at IS NULL;

ALTER TABLE analytics.export_jobs
    ADD COLUMN rows_written bigint NOT NULL DEFAULT 0,
    ADD COLUMN bytes_written bigint NOT NULL DEFAULT 0,
    ADD COLUMN idempotency_key text,
    ADD COLUMN body_sha256 text,
    ADD COLUMN schedule_id uuid REFERENCES analytics.export_schedules,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN cleaned_at timestamptz,
    ADD COLUMN traceparent text,
    ADD COLUMN webhook_url text,
    ADD COLUMN webhook_attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN webhook_run_after timestamptz,
    ADD COLUMN webhook_ended_at timestamptz,
    ADD COLUMN webhook_error text,
    -- tidy: narrowing — its successor below allows more
    DROP CONSTRAINT export_jobs_status,
    -- tidy: narrowing — allows more than the one dropped above
    ADD CONSTRAINT export_jobs_status
        CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
    -- tidy: narrowing — the previous release sets completed_at in every end
    ADD CONSTRAINT export_jobs_ended CHECK (status IN ('pending', 'running') OR completed_at IS NOT NULL),
    -- tidy: narrowing — the previous release claims with owner and time in one statement
    ADD CONSTRAINT export_jobs_lease CHECK (status <> 'running' OR (lease_owner IS NOT NULL AND lease_until IS NOT NULL));
COMMENT ON COLUMN analytics.export_jobs.object_key IS 'Where the file lies or would lie; given when the job is created.';
COMMENT ON COLUMN analytics.export_jobs.cleaned_at IS
    'Since when nothing of a failed, canceled or expired job is left in the storage; null while that is unknown.';
COMMENT ON COLUMN analytics.export_jobs.webhook_ended_at IS
    'When the webhook was delivered or, with webhook_error, given up; null while it is to be called.';
-- Ended before anybody kept count: their objects were removed at the time, or the bucket's own rules do it.
UPDATE analytics.export_jobs SET cleaned_at = completed_at WHERE status IN ('failed', 'expired');

-- tidy: narrowing — of a new column
CREATE UNIQUE INDEX export_jobs_idempotency ON analytics.export_jobs (org_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
-- tidy: narrowing — of a new column
CREATE UNIQUE INDEX export_jobs_period ON analytics.export_jobs (schedule_id, range_start) WHERE schedule_id IS NOT NULL;
CREATE INDEX export_jobs_kept ON analytics.export_jobs (expires_at) WHERE status = 'succeeded';
CREATE INDEX export_jobs_unclean ON analytics.export_jobs (completed_at)
    WHERE status IN ('failed', 'canceled', 'expired') AND cleaned_at IS NULL;
CREATE INDEX export_jobs_webhooks ON analytics.export_jobs (webhook_run_after)
    WHERE webhook_url IS NOT NULL AND webhook_ended_at IS NULL AND completed_at IS NOT NULL;

-- pending ─► running ─► succeeded ─► expired     What a job was asked for never changes, nor does the result of an
--    ▲ │       │ │ └──► failed                   ended one: a stale worker, a second replica or a hand in psql that
--    │ └──► canceled    (running ─► canceled)    tries gets an error instead of a wrong row.
--    └─────────┘
CREATE FUNCTION analytics.check_export_step() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('pending', 'running'), ('pending', 'canceled'), ('running', 'pending'), ('running', 'succeeded'),
        ('running', 'failed'), ('running', 'canceled'), ('succeeded', 'expired')
    ) THEN
        RAISE EXCEPTION 'export job %: no step from % to %', OLD.job_id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'export_jobs_step';
    END IF;
    IF (OLD.job_id, OLD.org_id, OLD.granularity, OLD.format, OLD.range_start, OLD.range_end, OLD.model_ids, OLD.template,
        OLD.timezone, OLD.group_by, OLD.filters, OLD.requested_by, OLD.idempotency_key, OLD.schedule_id)
        IS DISTINCT FROM
       (NEW.job_id, NEW.org_id, NEW.granularity, NEW.format, NEW.range_start, NEW.range_end, NEW.model_ids, NEW.template,
        NEW.timezone, NEW.group_by, NEW.filters, NEW.requested_by, NEW.idempotency_key, NEW.schedule_id)
    THEN
        RAISE EXCEPTION 'export job %: what was asked for does not change', OLD.job_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'export_jobs_step';
    END IF;
    IF OLD.status NOT IN ('pending', 'running') AND
       (OLD.object_key, OLD.row_count, OLD.size_bytes, OLD.checksum_sha256, OLD.totals, OLD.revision, OLD.completed_at)
        IS DISTINCT FROM
       (NEW.object_key, NEW.row_count, NEW.size_bytes, NEW.checksum_sha256, NEW.totals, NEW.revision, NEW.completed_at)
    THEN
        RAISE EXCEPTION 'export job %: its result does not change', OLD.job_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'export_jobs_step';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER export_jobs_step BEFORE UPDATE ON analytics.export_jobs
    FOR EACH ROW EXECUTE FUNCTION analytics.check_export_step();

SELECT analytics.protect_tenant_table('analytics.export_schedules');
GRANT INSERT, UPDATE ON analytics.export_schedules TO analytics_export;
