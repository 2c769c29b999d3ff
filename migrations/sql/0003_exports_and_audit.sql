CREATE TABLE analytics.export_jobs (
    job_id          uuid        PRIMARY KEY,
    org_id          uuid        NOT NULL,
    status          text        NOT NULL DEFAULT 'pending',
    granularity     text        NOT NULL,
    format          text        NOT NULL,
    range_start     timestamptz NOT NULL,
    range_end       timestamptz NOT NULL,
    model_ids       text[]      NOT NULL DEFAULT '{}',
    requested_by    text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at      timestamptz,
    completed_at    timestamptz,
    attempt         integer     NOT NULL DEFAULT 0,
    run_after       timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_owner     text,
    lease_until     timestamptz,
    object_key      text,
    row_count       bigint,
    size_bytes      bigint,
    checksum_sha256 text,
    error_code      text,
    error_detail    text,
    CONSTRAINT export_jobs_status CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'expired')),
    CONSTRAINT export_jobs_granularity CHECK (granularity IN ('hourly', 'daily', 'monthly')),
    CONSTRAINT export_jobs_range CHECK (range_start < range_end),
    CONSTRAINT export_jobs_result CHECK (
        status <> 'succeeded'
        OR (object_key IS NOT NULL AND row_count IS NOT NULL AND checksum_sha256 IS NOT NULL AND completed_at IS NOT NULL)
    )
);
COMMENT ON TABLE analytics.export_jobs IS 'Exports asked for, under way and done. Written by export alone.';
CREATE INDEX export_jobs_org ON analytics.export_jobs (org_id, created_at DESC, job_id DESC);
CREATE INDEX export_jobs_open ON analytics.export_jobs (run_after) WHERE status IN ('pending', 'running');

CREATE TABLE analytics.audit_log (
    audit_id   bigint      GENERATED ALWAYS AS IDENTITY,
    decided_at timestamptz NOT NULL,
    service    text        NOT NULL,
    subject    text        NOT NULL,
    roles      text[]      NOT NULL,
    org_id     uuid,
    action     text        NOT NULL,
    decision   text        NOT NULL,
    reason     text        NOT NULL,
    request_id text        NOT NULL,
    method     text        NOT NULL,
    path       text        NOT NULL,
    CONSTRAINT audit_log_decision CHECK (decision IN ('allow', 'deny'))
);
COMMENT ON TABLE analytics.audit_log IS 'Every access decision. Each service appends its own; nobody changes or deletes.';
SELECT public.create_hypertable(
    'analytics.audit_log', public.by_range('decided_at', INTERVAL '30 days'), create_default_indexes => false
);
CREATE INDEX audit_log_time ON analytics.audit_log (decided_at DESC, audit_id DESC);
CREATE INDEX audit_log_org ON analytics.audit_log (org_id, decided_at DESC, audit_id DESC);

CREATE FUNCTION analytics.refuse_audit_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'analytics.audit_log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON analytics.audit_log
    FOR EACH ROW EXECUTE FUNCTION analytics.refuse_audit_change();
