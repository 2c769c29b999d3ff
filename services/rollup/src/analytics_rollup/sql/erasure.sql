-- unfinished --
-- The erasure of the same that was interrupted, to go on with.
SELECT erasure_id, erased_before, erased_events
FROM analytics.erasures
WHERE org_id = $1 AND actor_hash IS NOT DISTINCT FROM sha256(convert_to($2::text, 'UTF8')) AND completed_at IS NULL
ORDER BY erasure_id
LIMIT 1

-- begin --
INSERT INTO analytics.erasures (org_id, actor_hash, requested_by)
VALUES ($1, sha256(convert_to($2::text, 'UTF8')), $3)
RETURNING erasure_id

-- record --
-- In the audit trail, in the transaction that begins or ends the erasure.
INSERT INTO analytics.audit_log (
    decided_at, service, subject, roles, org_id, action, decision, reason, request_id, method, path
)
VALUES (clock_timestamp(), $1, $2, '{}', $3, 'org:erase', 'allow', $4, $5, 'CLI', '/erase')

-- days --
-- The UTC days that may have something of the organisation: those of the chunks of events, and those of its rollups.
SELECT DISTINCT day
FROM (
    SELECT generate_series(range_start, range_end - INTERVAL '1 microsecond', '1 day') AS day
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'analytics' AND hypertable_name = 'usage_events'
    UNION ALL
    SELECT bucket_start FROM analytics.usage_daily WHERE org_id = $1
    UNION ALL
    SELECT date_bin('1 day', bucket_start, 'epoch') FROM analytics.usage_hourly WHERE org_id = $1
) AS days
WHERE $2::timestamptz IS NULL OR day >= $2
ORDER BY day

-- count_events --
SELECT count(*) FROM analytics.usage_events
WHERE org_id = $1 AND ($2::text IS NULL OR actor_id = $2) AND occurred_at >= $3 AND occurred_at < $4

-- erase_events --
SELECT analytics.erase_events($1, $2, $3, $4, $5)

-- note_events --
UPDATE analytics.erasures SET erased_events = erased_events + $2 WHERE erasure_id = $1

-- remove_buckets --
-- Of a day whose events retention has dropped; written for the hours of models, run for every rollup.
DELETE FROM analytics.usage_hourly WHERE org_id = $1 AND bucket_start >= $2 AND bucket_start < $3

-- forget_actor --
-- The same, for an actor: the numbers stay, the name does not. Written for the hours, run for the days, too.
UPDATE analytics.usage_actor_hourly
SET actor_id = $3, series = analytics.series($3, model_id, status, error_code)
WHERE org_id = $1 AND actor_id = $2 AND bucket_start >= $4 AND bucket_start < $5

-- note_day --
UPDATE analytics.erasures SET erased_before = $2 WHERE erasure_id = $1

-- remove_freshness --
DELETE FROM analytics.freshness_status
WHERE org_id = $1
    AND NOT EXISTS (SELECT FROM analytics.usage_hourly AS hours WHERE hours.org_id = freshness_status.org_id)

-- erase_dead_letters --
SELECT analytics.erase_dead_letters($1, $2)

-- complete --
UPDATE analytics.erasures SET completed_at = clock_timestamp() WHERE erasure_id = $1

-- kept_since --
-- Retention has dropped events before this time; the rollups may be older.
SELECT dropped_before FROM analytics.retained WHERE table_name = 'usage_events'
