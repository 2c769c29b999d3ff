-- newest_records --
-- Newest first. The transaction's scope decides whose records there are; $1 narrows an administrator's look.
SELECT audit_id, decided_at, service, subject, roles, org_id, action, decision, reason, request_id, method, path
FROM analytics.audit_log
WHERE decided_at >= $2 AND decided_at < $3
    AND ($1::uuid IS NULL OR org_id = $1)
    AND ($4::text IS NULL OR subject = $4)
    AND ($5::text IS NULL OR action = $5)
    AND ($6::text IS NULL OR decision = $6)
    AND ($7::timestamptz IS NULL OR (decided_at, audit_id) < ($7, $8::bigint))
ORDER BY decided_at DESC, audit_id DESC
LIMIT $9
