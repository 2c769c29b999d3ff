-- claim_webhook --
-- Taken by moving its time on: a caller that dies leaves it to be called again after that.
UPDATE analytics.export_jobs
SET webhook_attempts = webhook_attempts + 1, webhook_run_after = clock_timestamp() + $1::interval
WHERE job_id = (
    SELECT job_id FROM analytics.export_jobs
    WHERE webhook_url IS NOT NULL AND webhook_ended_at IS NULL AND completed_at IS NOT NULL
        AND (webhook_run_after IS NULL OR webhook_run_after <= now())
    ORDER BY webhook_run_after NULLS FIRST
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *

-- end_webhook --
-- Delivered, or with an error: given up.
UPDATE analytics.export_jobs SET webhook_ended_at = clock_timestamp(), webhook_error = $3
WHERE org_id = $1 AND job_id = $2 AND webhook_ended_at IS NULL

-- delay_webhook --
-- The error stays visible while the next call waits.
UPDATE analytics.export_jobs SET webhook_run_after = clock_timestamp() + $4::interval, webhook_error = $3
WHERE org_id = $1 AND job_id = $2 AND webhook_ended_at IS NULL
