-- lock_chain --
-- One process links at a time; the others find the lock taken and come back later.
SELECT pg_try_advisory_xact_lock(hashtextextended('analytics.audit_links', 0))

-- pending_records --
-- The oldest records without a link.
SELECT audit_id, decided_at FROM analytics.audit_pending ORDER BY audit_id LIMIT $1

-- records --
-- The bounds let the planner leave all other chunks alone.
SELECT audit_id, decided_at, service, subject, roles, org_id, action, decision, reason, request_id, method, path
FROM analytics.audit_log
WHERE decided_at >= $1 AND decided_at <= $2 AND audit_id = ANY ($3::bigint[])
ORDER BY audit_id

-- heads_of --
-- Where some chains end.
SELECT org_id, seq, hash FROM analytics.audit_heads WHERE org_id = ANY ($1::uuid[])

-- append_links --
-- Raises when a place of the chain is taken: the head said otherwise, so somebody has touched it.
INSERT INTO analytics.audit_links (org_id, seq, audit_id, decided_at, key_id, hash)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::bytea[])

-- move_heads --
-- Each chain's last link.
INSERT INTO analytics.audit_heads (org_id, seq, hash)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[])
ON CONFLICT (org_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash

-- forget_pending --
-- Exactly those that were looked at.
DELETE FROM analytics.audit_pending WHERE audit_id = ANY ($1::bigint[])

-- unlinked_state --
-- How many records wait for their link, and for how long.
SELECT count(*) AS records, coalesce(extract(epoch FROM clock_timestamp() - min(decided_at)), 0)::float8 AS oldest_seconds
FROM analytics.audit_pending
