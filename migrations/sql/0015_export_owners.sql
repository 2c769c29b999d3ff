-- A schedule is its organisation's; who answers for it is whoever has changed it last.
ALTER TABLE analytics.export_schedules ADD COLUMN updated_by text;
COMMENT ON COLUMN analytics.export_schedules.updated_by IS
    'Who has changed or deleted it last: its next exports are made in this name. Null: nobody since created_by.';

-- Several stores list unfinished uploads by the whole key of their object alone, so leftovers are looked for job by job.
ALTER TABLE analytics.export_jobs ADD COLUMN uploads_swept_at timestamptz;
COMMENT ON COLUMN analytics.export_jobs.uploads_swept_at IS
    'When uploads that were left of an ended job were looked for, long after any of its workers; null: not yet.';
CREATE INDEX export_jobs_unswept ON analytics.export_jobs (completed_at)
    WHERE completed_at IS NOT NULL AND uploads_swept_at IS NULL;
