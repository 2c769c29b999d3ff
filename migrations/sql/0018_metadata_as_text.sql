-- Metadata as ingest has checked and spelled it, in a text: making jsonb of it was a fifth of what storing an event
-- takes, and hardly anybody looks into it. The one key that every event is grouped by has a column. Rows of before keep
-- theirs in `metadata`.
ALTER TABLE analytics.usage_events ADD COLUMN project text, ADD COLUMN metadata_json text;
COMMENT ON COLUMN analytics.usage_events.metadata IS 'Of rows from before metadata_json; null since.';
COMMENT ON COLUMN analytics.usage_events.metadata_json IS 'JSON object of strings in one spelling: equal metadata is equal text.';
COMMENT ON COLUMN analytics.usage_events.project IS 'Of metadata_json, at most 200 characters; null when it has none.';

-- Whoever reads raw events sees one kind of them.
CREATE OR REPLACE VIEW analytics.visible_events WITH (security_barrier) AS
SELECT
    org_id, event_id, occurred_at, batch_id, cost_microcents, latency_ms, input_tokens, output_tokens,
    cached_input_tokens, reasoning_tokens, status, model_id, actor_id, client_id, error_code,
    coalesce(metadata, metadata_json::jsonb) AS metadata,
    coalesce(project, analytics.project(metadata)) AS project
FROM analytics.usage_events
WHERE org_id = (SELECT analytics.current_org()) OR (SELECT analytics.sees_every_org());

DO $do$
DECLARE
    recount text;
BEGIN
    FOREACH recount IN ARRAY ARRAY['recount_hours', 'recount_quarters', 'recount_detail_hours', 'recount_actor_hours'] LOOP
        EXECUTE replace(
            pg_get_functiondef(format('analytics.%I(timestamptz, timestamptz, uuid)', recount)::regprocedure),
            'analytics.project(metadata)', 'coalesce(usage_events.project, analytics.project(metadata))'
        );
    END LOOP;
END
$do$;
