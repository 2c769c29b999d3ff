-- lock_claims --
-- Claims of all workers one after the other, for the length of one short statement: so counting an organisation's
-- running jobs is exact.
SELECT pg_advisory_xact_lock(hashtextextended('export claims', 0))

-- claim_job --
-- SKIP LOCKED lets workers pass rows that somebody else holds. A running job whose lease has run out is as good as
-- waiting. Who has enough jobs running leaves the others their turn.
UPDATE analytics.export_jobs
SET status = 'running', attempt = attempt + 1, lease_owner = $1, lease_until = clock_timestamp() + $2::interval,
    started_at = coalesce(started_at, clock_timestamp()), rows_written = 0, bytes_written = 0
WHERE job_id = (
    SELECT job_id
    FROM analytics.export_jobs AS waiting
    WHERE status IN ('pending', 'running') AND run_after <= now() AND (status = 'pending' OR lease_until < now())
        AND attempt < $3
        AND (
            SELECT count(*) FROM analytics.export_jobs AS busy
            WHERE busy.org_id = waiting.org_id AND busy.status = 'running' AND busy.lease_until >= now()
        ) < $4
    ORDER BY run_after
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *

-- fail_lost_jobs --
-- A job that takes its worker down must not do so forever.
UPDATE analytics.export_jobs
SET status = 'failed', completed_at = clock_timestamp(), error_code = $2, error_detail = $3, lease_owner = NULL,
    lease_until = NULL
WHERE job_id IN (
    SELECT job_id FROM analytics.export_jobs
    WHERE status = 'running' AND lease_until < now() AND attempt >= $1
    FOR UPDATE SKIP LOCKED
)
RETURNING *

-- renew_lease --
-- A lease that has run out may be renewed as long as nobody has taken the job.
UPDATE analytics.export_jobs
SET lease_until = clock_timestamp() + $4::interval, rows_written = $5, bytes_written = $6
WHERE org_id = $1 AND job_id = $2 AND lease_owner = $3 AND status = 'running'

-- succeed_job --
-- The checksum belongs to the object that this attempt wrote: nobody else may set it.
UPDATE analytics.export_jobs
SET status = 'succeeded', completed_at = clock_timestamp(), object_key = $4, row_count = $5, size_bytes = $6,
    checksum_sha256 = $7, totals = $8::jsonb, watermark = $9, confidence = $10, rows_written = $5, bytes_written = $6,
    expires_at = clock_timestamp() + $11::interval, error_code = NULL, error_detail = NULL, lease_owner = NULL,
    lease_until = NULL
WHERE org_id = $1 AND job_id = $2 AND lease_owner = $3 AND status = 'running'

-- lock_revisions --
-- One numbering at a time for each question; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('export revision ' || $1::uuid || ' ' || $2::text, 0))

-- reserve_revision --
-- The same bytes as the newest file of the same parameters are the same revision, other bytes are the next one. A job
-- that failed has no file. Asked again by a later attempt, a job forgets the number that it had.
WITH others AS (
    SELECT job_id, revision, checksum_sha256, completed_at
    FROM analytics.export_jobs
    WHERE org_id = $1 AND parameters_sha256 = $4 AND revision IS NOT NULL AND job_id <> $2
        AND status IN ('running', 'succeeded', 'expired')
), numbered AS (
    SELECT coalesce(max(revision) FILTER (WHERE revision = newest AND checksum_sha256 = $5), max(newest) + 1, 1) AS revision
    FROM (SELECT revision, checksum_sha256, max(revision) OVER () AS newest FROM others) AS counted
), superseded AS (
    SELECT others.job_id, others.checksum_sha256
    FROM others JOIN numbered ON others.revision < numbered.revision
    ORDER BY others.revision DESC, others.completed_at DESC NULLS LAST, others.job_id
    LIMIT 1
)
UPDATE analytics.export_jobs AS job
SET revision = numbered.revision, parameters_sha256 = $4, checksum_sha256 = $5
FROM numbered LEFT JOIN superseded ON true
WHERE job.org_id = $1 AND job.job_id = $2 AND job.lease_owner = $3 AND job.status = 'running'
RETURNING job.revision, superseded.job_id AS superseded_job_id, superseded.checksum_sha256 AS superseded_sha256

-- retry_job --
-- The error stays visible while the job waits for its next attempt.
UPDATE analytics.export_jobs
SET status = 'pending', run_after = clock_timestamp() + $6::interval, error_code = $4, error_detail = $5,
    lease_owner = NULL, lease_until = NULL
WHERE org_id = $1 AND job_id = $2 AND lease_owner = $3 AND status = 'running'

-- fail_job --
-- The last state of a job that no further attempt would help.
UPDATE analytics.export_jobs
SET status = 'failed', completed_at = clock_timestamp(), error_code = $4, error_detail = $5, lease_owner = NULL,
    lease_until = NULL
WHERE org_id = $1 AND job_id = $2 AND lease_owner = $3 AND status = 'running'

-- release_job --
-- A worker that is told to stop has not failed: the attempt does not count.
UPDATE analytics.export_jobs
SET status = 'pending', attempt = attempt - 1, run_after = clock_timestamp(), lease_owner = NULL, lease_until = NULL
WHERE org_id = $1 AND job_id = $2 AND lease_owner = $3 AND status = 'running'

-- let_go --
-- A canceled job's worker says that it has stopped: what is left of its uploads can be removed now.
UPDATE analytics.export_jobs
SET lease_owner = NULL, lease_until = NULL
WHERE org_id = $1 AND job_id = $2 AND lease_owner = $3 AND status = 'canceled'

-- queue_state --
-- A job between two attempts counts as waiting since it was asked for: its user has been waiting since then.
SELECT count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE status = 'running') AS running,
    coalesce(extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE status = 'pending')), 0)::float8
        AS oldest_pending_seconds
FROM analytics.export_jobs
WHERE status IN ('pending', 'running')
