-- erased_jobs --
-- Of the organisation, or those alone whose file may name one of its actors: raw events, rows by actor, and what was
-- asked for by the actor's name. Files that are there, to come, or ended with something left of them.
SELECT * FROM analytics.export_jobs
WHERE org_id = $1 AND (status IN ('pending', 'running', 'succeeded') OR cleaned_at IS NULL)
    AND ($2::text IS NULL OR granularity = 'events' OR 'actor' = ANY (group_by) OR filters -> 'actorId' ? $2)
ORDER BY created_at

-- cancel_erased --
-- A worker that is at it notices within a second.
UPDATE analytics.export_jobs
SET status = 'canceled', completed_at = clock_timestamp(), error_code = NULL, error_detail = NULL
WHERE org_id = $1 AND job_id = ANY ($2::uuid[]) AND status IN ('pending', 'running')

-- expire_erased --
-- The row stays and says that there was a file.
UPDATE analytics.export_jobs SET status = 'expired', expires_at = clock_timestamp()
WHERE org_id = $1 AND job_id = ANY ($2::uuid[]) AND status = 'succeeded'

-- delete_erased_schedules --
-- No file is made for the organisation any more.
UPDATE analytics.export_schedules
SET deleted_at = clock_timestamp(), updated_at = clock_timestamp(), updated_by = $2
WHERE org_id = $1 AND deleted_at IS NULL

-- forget_actor --
-- Rows stay and name the actor no more, those alone of which no file is left: by its name the next erasure finds a job
-- that was made meanwhile.
UPDATE analytics.export_jobs
SET filters = jsonb_set(filters, '{actorId}', (filters -> 'actorId') - $2 - 'erased' || '["erased"]'::jsonb)
WHERE org_id = $1 AND filters -> 'actorId' ? $2 AND cleaned_at IS NOT NULL

-- forget_actor_in_schedules --
-- Deleted ones too. Those that ask for nobody else make no files any more; the others stay in the name of whoever has
-- changed them last.
UPDATE analytics.export_schedules AS schedule
SET question = jsonb_set(question, '{filters,actorId}', others.names || '["erased"]'::jsonb),
    deleted_at = CASE WHEN others.are_left THEN deleted_at ELSE coalesce(deleted_at, clock_timestamp()) END,
    updated_by = CASE WHEN others.are_left THEN updated_by ELSE $3 END,
    updated_at = clock_timestamp()
FROM (
    SELECT schedule_id, names, jsonb_array_length(names) > 0 AS are_left
    FROM (
        SELECT schedule_id, (question #> '{filters,actorId}') - $2 - 'erased' AS names
        FROM analytics.export_schedules
        WHERE org_id = $1 AND question #> '{filters,actorId}' ? $2
        FOR UPDATE
    ) AS named
) AS others
WHERE schedule.org_id = $1 AND schedule.schedule_id = others.schedule_id

-- still_leased --
-- How many of these a worker may still be busy with.
SELECT count(*) FROM analytics.export_jobs WHERE org_id = $1 AND job_id = ANY ($2::uuid[]) AND lease_until >= now()

-- record_erasure --
-- In the audit trail, in the transaction that begins or ends the erasure.
INSERT INTO analytics.audit_log (
    decided_at, service, subject, roles, org_id, action, decision, reason, request_id, method, path
)
VALUES (clock_timestamp(), $1, $2, '{}', $3, 'org:erase', 'allow', $4, $5, 'CLI', '/erase')
