-- The second wall between tenants: a query that names the wrong organisation finds nothing. The first is OrgScope.
-- `app.org_id` and `app.scope` hold for one transaction; analytics_core.database sets them from the caller's scope.
CREATE FUNCTION analytics.current_org() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('app.org_id', true), '')::uuid $$;

CREATE FUNCTION analytics.sees_every_org() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT coalesce(current_setting('app.scope', true) = 'platform', false) $$;

-- Every table with an org_id goes through this, and again after it got a column. Ingest and rollup serve no user and
-- work on everybody's rows; query-api and export see the rows of their transaction's organisation alone.
-- The sub-selects make the planner ask once a statement instead of once a row.
CREATE FUNCTION analytics.protect_tenant_table(protected regclass) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    chunk regclass;
    every_column text;
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', protected);
    EXECUTE format('DROP POLICY IF EXISTS pipeline_rows ON %s', protected);
    EXECUTE format('CREATE POLICY pipeline_rows ON %s TO analytics_ingest, analytics_rollup USING (true)', protected);
    EXECUTE format('DROP POLICY IF EXISTS tenant_rows ON %s', protected);
    EXECUTE format(
        'CREATE POLICY tenant_rows ON %s TO analytics_query_api, analytics_export
        USING (org_id = (SELECT analytics.current_org()) OR (SELECT analytics.sees_every_org()))', protected
    );
    -- A chunk is a table without policies that anybody may name, and it takes over the rights that its hypertable
    -- grants on the whole table. Rights on columns it does not take over, and through the hypertable they are enough.
    IF EXISTS (
        SELECT FROM timescaledb_information.hypertables
        WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = protected
    ) THEN
        SELECT string_agg(quote_ident(attname), ', ') INTO every_column
        FROM pg_attribute WHERE attrelid = protected AND attnum > 0 AND NOT attisdropped;
        EXECUTE format('REVOKE SELECT ON %s FROM analytics_query_api, analytics_export', protected);
        EXECUTE format('GRANT SELECT (%s) ON %s TO analytics_query_api, analytics_export', every_column, protected);
        FOR chunk IN SELECT public.show_chunks(protected) LOOP
            EXECUTE format('REVOKE ALL ON %s FROM analytics_query_api, analytics_export', chunk);
        END LOOP;
    ELSE
        EXECUTE format('GRANT SELECT ON %s TO analytics_query_api, analytics_export', protected);
    END IF;
    EXECUTE format('GRANT SELECT ON %s TO analytics_ingest, analytics_rollup', protected);
END
$$;
COMMENT ON FUNCTION analytics.protect_tenant_table IS 'For migrations: row-level security by org_id, without a way around through chunks.';
REVOKE EXECUTE ON FUNCTION analytics.protect_tenant_table FROM PUBLIC;

SELECT analytics.protect_tenant_table('analytics.usage_hourly');
SELECT analytics.protect_tenant_table('analytics.usage_daily');
SELECT analytics.protect_tenant_table('analytics.freshness_status');
SELECT analytics.protect_tenant_table('analytics.export_jobs');

-- The trail is the other way round: who decides appends decisions about anybody, and query-api alone shows them.
SELECT analytics.protect_tenant_table('analytics.audit_log');
-- tidy: narrowing — made a few lines above
DROP POLICY pipeline_rows ON analytics.audit_log;
CREATE POLICY appended_rows ON analytics.audit_log FOR INSERT
    TO analytics_ingest, analytics_query_api, analytics_export WITH CHECK (true);
-- tidy: narrowing — before the first release: the previous one never read the trail in these roles
REVOKE SELECT ON analytics.audit_log FROM analytics_ingest, analytics_rollup, analytics_export;

-- PostgreSQL refuses COPY into a table with policies, and ingest's COPY is its speed: raw events stay without. Who
-- serves tenants reads them through this view instead, and has no right to the table. Nor to dead letters, which are
-- the platform administrator's and may hold anybody's events.
CREATE VIEW analytics.visible_events WITH (security_barrier) AS
SELECT
    org_id, event_id, occurred_at, batch_id, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id, error_code, metadata
FROM analytics.usage_events
WHERE org_id = (SELECT analytics.current_org()) OR (SELECT analytics.sees_every_org());
COMMENT ON VIEW analytics.visible_events IS 'The raw events of the transaction''s organisation: what query-api and export read of them.';
GRANT SELECT ON analytics.visible_events TO analytics_query_api, analytics_export;
-- tidy: narrowing — before the first release: its services come with the view
REVOKE SELECT ON analytics.usage_events, analytics.dead_letters FROM analytics_query_api, analytics_export;
DO $$
DECLARE
    chunk regclass;
BEGIN
    FOR chunk IN SELECT public.show_chunks('analytics.usage_events') LOOP
        -- tidy: narrowing — as the table above
        EXECUTE format('REVOKE ALL ON %s FROM analytics_query_api, analytics_export', chunk);
    END LOOP;
END
$$;
