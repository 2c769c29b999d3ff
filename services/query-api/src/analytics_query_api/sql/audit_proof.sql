-- chain --
-- Every link in order with its record, if that is still there. `only_org` null: of every organisation.
SELECT link.org_id AS chain_org, link.seq, link.key_id, link.hash, link.audit_id AS linked_id,
    link.decided_at AS linked_at,
    record.audit_id, record.decided_at, record.service, record.subject, record.roles, record.org_id, record.action,
    record.decision, record.reason, record.request_id, record.method, record.path
FROM analytics.audit_links AS link
LEFT JOIN analytics.audit_log AS record
    ON record.audit_id = link.audit_id AND record.decided_at = link.decided_at
WHERE $1::uuid IS NULL OR link.org_id = $1
ORDER BY link.org_id, link.seq

-- all_heads --
-- Where the chains ended when they were last written.
SELECT org_id, seq, hash FROM analytics.audit_heads WHERE $1::uuid IS NULL OR org_id = $1 ORDER BY org_id

-- unlinked --
-- Records that are neither linked nor waiting for it: put there, or taken out of the chain, by hand.
SELECT audit_id, coalesce(org_id, $2) AS chain_org
FROM analytics.audit_log AS record
WHERE ($1::uuid IS NULL OR coalesce(org_id, $2) = $1)
    AND NOT EXISTS (SELECT FROM analytics.audit_links AS link WHERE link.audit_id = record.audit_id)
    AND NOT EXISTS (SELECT FROM analytics.audit_pending AS pending WHERE pending.audit_id = record.audit_id)
ORDER BY audit_id
LIMIT $3

-- expirations --
-- What retention has written about itself, with the link of each record and the one before it.
SELECT record.audit_id, record.decided_at, record.service, record.subject, record.roles, record.org_id, record.action,
    record.decision, record.reason, record.request_id, record.method, record.path,
    substring(record.path FROM '^/audit/before/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$')::timestamptz AS dropped_before,
    link.key_id, link.hash, before.hash AS previous,
    EXISTS (SELECT FROM analytics.audit_pending AS pending WHERE pending.audit_id = record.audit_id) AS is_pending
FROM analytics.audit_log AS record
LEFT JOIN analytics.audit_links AS link ON link.audit_id = record.audit_id AND link.org_id = $2
LEFT JOIN analytics.audit_links AS before ON before.org_id = link.org_id AND before.seq = link.seq - 1
WHERE record.org_id IS NULL AND record.action = $1 AND record.path ~ '^/audit/before/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$'
ORDER BY record.audit_id
