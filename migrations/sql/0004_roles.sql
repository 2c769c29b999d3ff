-- The roles cannot log in until the installer gives them a password (ALTER ROLE … LOGIN PASSWORD …). They belong to the
-- cluster, not to the database: another database of the same cluster may have made them, even at this very moment.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['analytics_ingest', 'analytics_rollup', 'analytics_query_api', 'analytics_export'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- The matrix: one writer per table. Everybody reads; what a line below does not grant, PostgreSQL refuses.
GRANT USAGE ON SCHEMA analytics TO analytics_ingest, analytics_rollup, analytics_query_api, analytics_export;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics
    TO analytics_ingest, analytics_rollup, analytics_query_api, analytics_export;

GRANT INSERT ON analytics.usage_events, analytics.ingestion_batches, analytics.dead_letters TO analytics_ingest;
GRANT INSERT, UPDATE ON analytics.stream_offsets TO analytics_ingest;
-- A batch draws its id before its row is written, because its events carry it.
GRANT USAGE ON SEQUENCE analytics.ingestion_batches_batch_id_seq TO analytics_ingest;

GRANT INSERT, UPDATE, DELETE ON analytics.usage_hourly, analytics.usage_daily, analytics.freshness_status TO analytics_rollup;
GRANT UPDATE (folded_at) ON analytics.ingestion_batches TO analytics_rollup;

GRANT INSERT, UPDATE ON analytics.export_jobs TO analytics_export;

-- Append-only for those who decide over access.
GRANT INSERT ON analytics.audit_log TO analytics_ingest, analytics_query_api, analytics_export;
