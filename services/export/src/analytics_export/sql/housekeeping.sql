-- expire_jobs --
-- The row stays and says that there was a file; SKIP LOCKED lets replicas share the work.
UPDATE analytics.export_jobs
SET status = 'expired'
WHERE job_id IN (
    SELECT job_id FROM analytics.export_jobs
    WHERE status = 'succeeded' AND coalesce(expires_at, completed_at + $1::interval) < now()
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING *

-- unclean_jobs --
-- While the lease of a canceled job lasts, its worker may still be starting uploads.
SELECT * FROM analytics.export_jobs
WHERE status IN ('failed', 'canceled', 'expired') AND cleaned_at IS NULL
    AND (lease_until IS NULL OR lease_until < now())
ORDER BY completed_at
LIMIT $1

-- unswept_jobs --
-- Ended for so long that no worker of theirs is left: one that was frozen may have begun an upload after the job's end.
SELECT * FROM analytics.export_jobs
WHERE completed_at < now() - $1::interval AND uploads_swept_at IS NULL
ORDER BY completed_at
LIMIT $2

-- mark_swept --
-- Once for each job.
UPDATE analytics.export_jobs SET uploads_swept_at = clock_timestamp() WHERE org_id = $1 AND job_id = $2

-- mark_cleaned --
-- Said once: whoever comes second finds it done.
UPDATE analytics.export_jobs SET cleaned_at = clock_timestamp() WHERE org_id = $1 AND job_id = $2
