-- create_job --
-- Counting and inserting in one statement keeps the limits close. Whichever unique key is taken, nothing is inserted.
INSERT INTO analytics.export_jobs
    (job_id, org_id, granularity, format, range_start, range_end, model_ids, requested_by, template, timezone, group_by,
    filters, object_key, idempotency_key, body_sha256, schedule_id, webhook_url, traceparent)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::jsonb, $13, $14, $15, $16, $17, $18
WHERE (
    SELECT count(*) FILTER (WHERE status IN ('pending', 'running')) < $19
        AND coalesce(sum(size_bytes) FILTER (WHERE status = 'succeeded'), 0) < $20::bigint
    FROM analytics.export_jobs WHERE org_id = $2
)
ON CONFLICT DO NOTHING
RETURNING *

-- used_quota --
-- What create_job compares with its limits, to tell which of them was reached.
SELECT count(*) FILTER (WHERE status IN ('pending', 'running')) AS open_jobs,
    coalesce(sum(size_bytes) FILTER (WHERE status = 'succeeded'), 0)::bigint AS kept_bytes
FROM analytics.export_jobs
WHERE org_id = $1

-- find_job_by_key --
-- A key is one organisation's: another one may use the same.
SELECT * FROM analytics.export_jobs WHERE org_id = $1 AND idempotency_key = $2

-- cancel_job --
-- The lease of a running job stays until its worker lets go of it: until then there may be uploads to come.
UPDATE analytics.export_jobs
SET status = 'canceled', completed_at = clock_timestamp(), error_code = NULL, error_detail = NULL
WHERE org_id = $1 AND job_id = $2 AND status IN ('pending', 'running')
RETURNING *

-- find_job --
-- By organisation and id together: the id of somebody else's job finds nothing.
SELECT * FROM analytics.export_jobs WHERE org_id = $1 AND job_id = $2

-- newest_jobs --
-- The row comparison walks the index (org_id, created_at, job_id) from the position on.
SELECT *
FROM analytics.export_jobs
WHERE org_id = $1 AND ($2::timestamptz IS NULL OR (created_at, job_id) < ($2, $3::uuid))
ORDER BY created_at DESC, job_id DESC
LIMIT $4
