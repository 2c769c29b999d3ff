-- create_job --
-- Counting and inserting in one statement keeps the limit close; it guards the shared queue, not money, so the few
-- jobs that concurrent callers may add beyond it do no harm.
INSERT INTO analytics.export_jobs
    (job_id, org_id, granularity, format, range_start, range_end, model_ids, requested_by, template, timezone, group_by,
    filters)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $10, $11, $12, $13::jsonb
WHERE (
    SELECT count(*) FROM analytics.export_jobs WHERE org_id = $2 AND status IN ('pending', 'running')
) < $9
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
