-- As before: what an export was asked for does not change. But once it has ended, the names of erased actors leave its
-- filter: `erased` takes their place, as without any name the filter would be gone.
CREATE OR REPLACE FUNCTION analytics.check_export_step() RETURNS trigger
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
        OLD.timezone, OLD.group_by, OLD.requested_by, OLD.idempotency_key, OLD.schedule_id)
        IS DISTINCT FROM
       (NEW.job_id, NEW.org_id, NEW.granularity, NEW.format, NEW.range_start, NEW.range_end, NEW.model_ids, NEW.template,
        NEW.timezone, NEW.group_by, NEW.requested_by, NEW.idempotency_key, NEW.schedule_id)
       OR NEW.filters <> OLD.filters AND NOT coalesce(
        OLD.status NOT IN ('pending', 'running') AND NEW.filters - 'actorId' = OLD.filters - 'actorId'
        AND NEW.filters -> 'actorId' ? 'erased'
        AND (NEW.filters -> 'actorId') - 'erased' <@ (OLD.filters -> 'actorId'),
        false
    )
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
