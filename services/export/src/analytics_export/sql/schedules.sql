-- create_schedule --
-- Counting and inserting in one statement keeps the limit close; a name that is taken inserts nothing.
INSERT INTO analytics.export_schedules
    (schedule_id, org_id, name, cron, timezone, question, prefix, webhook_url, enabled, created_by, period_start, period_end)
SELECT $1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11, $12
WHERE (SELECT count(*) FROM analytics.export_schedules WHERE org_id = $2 AND deleted_at IS NULL) < $13
ON CONFLICT DO NOTHING
RETURNING schedule_id

-- shown_schedules --
-- One by its id, or all; with the job of the last period as it stands.
SELECT schedule.*, job.status AS last_status, job.range_start AS last_start, job.range_end AS last_end,
    job.confidence AS last_confidence, job.completed_at AS last_completed_at
FROM analytics.export_schedules AS schedule
LEFT JOIN analytics.export_jobs AS job ON job.job_id = schedule.last_job_id AND job.org_id = schedule.org_id
WHERE schedule.org_id = $1 AND ($2::uuid IS NULL OR schedule.schedule_id = $2) AND schedule.deleted_at IS NULL
ORDER BY schedule.name, schedule.schedule_id

-- lock_schedule --
-- Whoever changes a schedule and whoever creates its jobs take turns.
SELECT schedule_id FROM analytics.export_schedules
WHERE org_id = $1 AND schedule_id = $2 AND deleted_at IS NULL
FOR UPDATE

-- change_schedule --
-- The period under way keeps its start, so nothing is left out and nothing exported twice.
UPDATE analytics.export_schedules
SET name = $3, cron = $4, timezone = $5, question = $6::jsonb, prefix = $7, webhook_url = $8, enabled = $9,
    period_end = $10, last_error = NULL, updated_at = clock_timestamp(), updated_by = $11
WHERE org_id = $1 AND schedule_id = $2 AND deleted_at IS NULL

-- delete_schedule --
-- The row stays: jobs refer to it.
UPDATE analytics.export_schedules SET deleted_at = clock_timestamp(), updated_at = clock_timestamp(), updated_by = $3
WHERE org_id = $1 AND schedule_id = $2 AND deleted_at IS NULL

-- due_schedule --
-- The schedule whose period has been over for longest and is finalized, or has waited long enough for that.
SELECT * FROM analytics.export_schedules
WHERE enabled AND deleted_at IS NULL AND period_end <= now()
    AND (period_end + $1::interval <= analytics.dimensions_watermark() OR period_end + $2::interval <= now())
    AND schedule_id <> ALL ($3::uuid[])
ORDER BY period_end
LIMIT 1
FOR UPDATE SKIP LOCKED

-- move_on --
-- In the transaction that has created the period's job.
UPDATE analytics.export_schedules
SET period_start = $3, period_end = $4, periods_skipped = periods_skipped + $5, last_job_id = $6, last_error = NULL
WHERE org_id = $1 AND schedule_id = $2

-- note_error --
-- The period stays due: it is tried again, and nothing is lost once the reason is mended.
UPDATE analytics.export_schedules SET last_error = $3 WHERE org_id = $1 AND schedule_id = $2

-- oldest_due --
-- How long the longest of those periods has been over for which there is no job yet.
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(period_end)), 0)::float8
FROM analytics.export_schedules
WHERE enabled AND deleted_at IS NULL AND period_end <= now()
