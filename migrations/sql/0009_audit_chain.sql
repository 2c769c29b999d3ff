-- Makes the audit trail tell when it was touched: each record gets a link whose hash covers the record and the link
-- before it, one chain an organisation. Links are made within a second by one process at a time, from records that
-- are already durable: no answer waits for them.
CREATE TABLE analytics.audit_pending (
    audit_id   bigint      PRIMARY KEY,
    decided_at timestamptz NOT NULL
);
COMMENT ON TABLE analytics.audit_pending IS 'Records without a link yet. Filled by a trigger on audit_log, emptied by query-api.';

CREATE FUNCTION analytics.await_audit_link() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
    INSERT INTO analytics.audit_pending (audit_id, decided_at) VALUES (NEW.audit_id, NEW.decided_at);
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_log_pending AFTER INSERT ON analytics.audit_log
    FOR EACH ROW EXECUTE FUNCTION analytics.await_audit_link();
INSERT INTO analytics.audit_pending (audit_id, decided_at) SELECT audit_id, decided_at FROM analytics.audit_log;

CREATE TABLE analytics.audit_links (
    org_id     uuid        NOT NULL,
    seq        bigint      NOT NULL,
    audit_id   bigint      NOT NULL UNIQUE,
    decided_at timestamptz NOT NULL,
    key_id     text        NOT NULL,
    hash       bytea       NOT NULL,
    PRIMARY KEY (org_id, seq)
);
COMMENT ON TABLE analytics.audit_links IS 'The chain of each organisation''s audit records, from 1 without gaps. Appended by query-api alone.';
COMMENT ON COLUMN analytics.audit_links.org_id IS 'All zeros: records about no single organisation.';
COMMENT ON COLUMN analytics.audit_links.key_id IS 'Which key the hash was made with; empty: none.';
CREATE TRIGGER audit_links_append_only BEFORE UPDATE OR DELETE ON analytics.audit_links
    FOR EACH ROW EXECUTE FUNCTION analytics.refuse_audit_change();

CREATE TABLE analytics.audit_heads (
    org_id uuid   PRIMARY KEY,
    seq    bigint NOT NULL,
    hash   bytea  NOT NULL
);
COMMENT ON TABLE analytics.audit_heads IS 'The last link of each chain: a chain that is shorter was cut. Written by query-api alone.';

SELECT analytics.protect_tenant_table('analytics.audit_links');
SELECT analytics.protect_tenant_table('analytics.audit_heads');
REVOKE SELECT ON analytics.audit_links, analytics.audit_heads FROM analytics_ingest, analytics_rollup, analytics_export;
GRANT SELECT, DELETE ON analytics.audit_pending TO analytics_query_api;
GRANT INSERT ON analytics.audit_links TO analytics_query_api;
GRANT INSERT, UPDATE ON analytics.audit_heads TO analytics_query_api;
