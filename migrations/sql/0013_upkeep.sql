-- What rollups have to say, by a recount from the events of batches that are folded into them: worded otherwise than the
-- folds on purpose, since it proves them. One function for each table that is filled from events, all alike.
-- `only_org` null: of every organisation. The range is of whole buckets.
DO $do$
DECLARE
    family record;
BEGIN
    -- tidy: narrowing — made anew below, with the same arguments
    DROP FUNCTION analytics.recount_hours(timestamptz, timestamptz, uuid);
    -- tidy: narrowing — made anew below, with the same arguments
    DROP FUNCTION analytics.recount_days(timestamptz, timestamptz, uuid);
    FOR family IN
        SELECT * FROM (VALUES
            ('recount_hours', '1 hour', 'folded_at', 'model_id', 'model_id text', 'model_id'),
            ('recount_quarters', '15 minutes', 'dimensions_folded_at', 'model_id', 'model_id text', 'model_id'),
            (
                'recount_detail_hours', '1 hour', 'dimensions_folded_at', 'model_id, client_id, project, status, error_code',
                'series uuid, model_id text, client_id text, project text, status text, error_code text',
                'analytics.series(model_id, client_id, project, status, error_code), model_id, client_id, project, status, error_code'
            ),
            (
                'recount_actor_hours', '1 hour', 'dimensions_folded_at', 'actor_id, model_id, status, error_code',
                'series uuid, actor_id text, model_id text, status text, error_code text',
                'analytics.series(actor_id, model_id, status, error_code), actor_id, model_id, status, error_code'
            )
        ) AS families (name, width, mark, dimensions, declared, shown)
    LOOP
        EXECUTE format($create$
CREATE FUNCTION analytics.%1$I(range_start timestamptz, range_end timestamptz, only_org uuid)
RETURNS TABLE (
    org_id uuid, bucket_start timestamptz, %5$s,
    invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint,
    input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint,
    cost_microcents bigint, latency_bins smallint[], latency_counts bigint[],
    first_event_at timestamptz, last_event_at timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, bucket, %6$s,
        sum(calls)::bigint, sum(errors)::bigint, sum(timeouts)::bigint, sum(throttled)::bigint,
        sum(input)::bigint, sum(output)::bigint, sum(cached)::bigint, sum(reasoning)::bigint, sum(cost)::bigint,
        array_agg(bin ORDER BY bin), array_agg(calls ORDER BY bin), min(first_at), max(last_at)
    FROM (
        SELECT
            org_id, bucket, %4$s, bin,
            count(*) AS calls, sum((status = 'error')::integer) AS errors, sum((status = 'timeout')::integer) AS timeouts,
            sum((status = 'throttled')::integer) AS throttled, sum(input_tokens) AS input, sum(output_tokens) AS output,
            sum(cached_input_tokens) AS cached, sum(reasoning_tokens) AS reasoning, sum(cost_microcents) AS cost,
            min(occurred_at) AS first_at, max(occurred_at) AS last_at
        FROM (
            SELECT
                org_id, date_bin(%2$L, occurred_at, 'epoch') AS bucket, model_id, status,
                coalesce(client_id, '') AS client_id, coalesce(actor_id, '') AS actor_id,
                coalesce(error_code, '') AS error_code, analytics.project(metadata) AS project,
                analytics.latency_bin(latency_ms) AS bin, input_tokens, output_tokens, cached_input_tokens,
                reasoning_tokens, cost_microcents, occurred_at
            FROM analytics.usage_events
            WHERE occurred_at >= range_start AND occurred_at < range_end AND (only_org IS NULL OR org_id = only_org)
                AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE %3$I IS NULL)
        ) AS events
        GROUP BY org_id, bucket, %4$s, bin
    ) AS bins
    GROUP BY org_id, bucket, %4$s
$function$
$create$, family.name, family.width, family.mark, family.dimensions, family.declared, family.shown);
    END LOOP;
END
$do$;

-- What daily tables have to say about whole UTC days, by their hours; the closed days alone, where days are closed.
DO $do$
DECLARE
    family record;
BEGIN
    FOR family IN
        SELECT * FROM (VALUES
            ('recount_days', 'usage_hourly', 'model_id', 'model_id text', 'infinity'),
            (
                'recount_detail_days', 'usage_detail_hourly', 'series, model_id, client_id, project, status, error_code',
                'series uuid, model_id text, client_id text, project text, status text, error_code text', 'detail'
            ),
            (
                'recount_actor_days', 'usage_actor_hourly', 'series, actor_id, model_id, status, error_code',
                'series uuid, actor_id text, model_id text, status text, error_code text', 'actor'
            )
        ) AS families (name, hours, dimensions, declared, progress)
    LOOP
        EXECUTE format($create$
CREATE FUNCTION analytics.%1$I(range_start timestamptz, range_end timestamptz, only_org uuid)
RETURNS TABLE (
    org_id uuid, bucket_start timestamptz, %4$s,
    invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint,
    input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint,
    cost_microcents bigint, latency_bins smallint[], latency_counts bigint[],
    first_event_at timestamptz, last_event_at timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, day, %3$s,
        sums.invocations, sums.errors, sums.timeouts, sums.throttled,
        sums.input, sums.output, sums.cached, sums.reasoning, sums.cost,
        histogram.bins, histogram.counts, sums.first_at, sums.last_at
    FROM (
        SELECT
            org_id, date_trunc('day', bucket_start, 'UTC') AS day, %3$s,
            sum(invocations)::bigint AS invocations, sum(error_count)::bigint AS errors,
            sum(timeout_count)::bigint AS timeouts, sum(throttled_count)::bigint AS throttled,
            sum(input_tokens)::bigint AS input, sum(output_tokens)::bigint AS output,
            sum(cached_input_tokens)::bigint AS cached, sum(reasoning_tokens)::bigint AS reasoning,
            sum(cost_microcents)::bigint AS cost,
            analytics.array_concat(latency_bins) AS bins, analytics.array_concat(latency_counts) AS counts,
            min(first_event_at) AS first_at, max(last_event_at) AS last_at
        FROM analytics.%2$I
        WHERE bucket_start >= range_start AND bucket_start < range_end AND (only_org IS NULL OR org_id = only_org)
            AND bucket_start < coalesce(
                (SELECT daily_through FROM analytics.rollup_progress WHERE family = %5$L), 'infinity'
            )
        GROUP BY org_id, day, %3$s
    ) AS sums
    CROSS JOIN LATERAL analytics.histogram_merge(sums.bins, sums.counts) AS histogram
$function$
$create$, family.name, family.hours, family.dimensions, family.declared, family.progress);
    END LOOP;
END
$do$;

-- Retention drops whole chunks. How far is written down: before that, a recount from events would find nothing.
CREATE TABLE analytics.retained (
    table_name     text        PRIMARY KEY,
    dropped_before timestamptz NOT NULL
);
COMMENT ON TABLE analytics.retained IS 'What retention has dropped: everything of a table before a time. Written by drop_oldest_chunk alone.';
GRANT SELECT ON analytics.retained TO analytics_ingest, analytics_rollup, analytics_query_api, analytics_export;

-- Drops the oldest chunk of a table if all of it is older than `age`; null when there is none. One chunk a transaction,
-- which does not wait for longer than 200 ms: whoever reads or writes the table queues behind it for so long at most.
-- Only tables with a retention, never less than two days, and never events that a fold still needs.
CREATE FUNCTION analytics.drop_oldest_chunk(dropped_table text, age interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '200ms'
AS $$
DECLARE
    oldest record;
BEGIN
    IF dropped_table <> 'usage_events' AND dropped_table !~ '^usage_([a-z]+_)?(hourly|daily)$' THEN
        RAISE EXCEPTION 'analytics.% has no retention', dropped_table USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF age < INTERVAL '2 days' THEN
        RAISE EXCEPTION 'a retention of % is less than two days', age USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT format('%I.%I', chunk_schema, chunk_name) AS name, range_end INTO oldest
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'analytics' AND hypertable_name = dropped_table AND range_end <= now() - age
    ORDER BY range_end
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF dropped_table = 'usage_events' AND EXISTS (
        SELECT FROM analytics.ingestion_batches
        WHERE (folded_at IS NULL OR dimensions_folded_at IS NULL) AND occurred_min < oldest.range_end
    ) THEN
        RAISE EXCEPTION '% has events that are not folded', oldest.name USING ERRCODE = 'object_in_use';
    END IF;
    PERFORM public.drop_chunks(format('analytics.%I', dropped_table)::regclass, older_than => oldest.range_end);
    INSERT INTO analytics.retained AS stored (table_name, dropped_before) VALUES (dropped_table, oldest.range_end)
    ON CONFLICT (table_name) DO UPDATE SET dropped_before = greatest(stored.dropped_before, EXCLUDED.dropped_before);
    RETURN oldest.name;
END
$$;
REVOKE EXECUTE ON FUNCTION analytics.drop_oldest_chunk FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.drop_oldest_chunk TO analytics_rollup;

-- Erasure: the events of an organisation, or of one of its actors, as the law may ask for.
CREATE TABLE analytics.erasures (
    erasure_id    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id        uuid        NOT NULL,
    actor_hash    bytea,
    requested_by  text        NOT NULL,
    requested_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_events bigint      NOT NULL DEFAULT 0,
    erased_before timestamptz,
    completed_at  timestamptz
);
COMMENT ON TABLE analytics.erasures IS 'Erasures that were asked for. Written by rollup alone.';
COMMENT ON COLUMN analytics.erasures.actor_hash IS 'SHA-256 of the actor, whose name is to be forgotten; null: the whole organisation.';
COMMENT ON COLUMN analytics.erasures.erased_before IS 'Days before this one are done: where an interrupted erasure goes on.';

CREATE TABLE analytics.erased_events (
    batch_id     bigint  PRIMARY KEY REFERENCES analytics.ingestion_batches,
    erased_count integer NOT NULL CHECK (erased_count > 0)
);
COMMENT ON TABLE analytics.erased_events IS
    'How many of a batch''s stored events were erased since: so many fewer than stored_count are to be found.';

SELECT analytics.protect_tenant_table('analytics.erasures');
REVOKE SELECT ON analytics.erasures FROM analytics_query_api, analytics_export, analytics_ingest;
GRANT SELECT ON analytics.erased_events TO analytics_ingest, analytics_rollup, analytics_query_api, analytics_export;
GRANT INSERT ON analytics.erasures TO analytics_rollup;
GRANT UPDATE (erased_events, erased_before, completed_at) ON analytics.erasures TO analytics_rollup;

-- Deletes at most so many events of one day, for an erasure that is under way and for nothing else, and writes down
-- which batches they were of. Returns how many.
CREATE FUNCTION analytics.erase_events(
    erasure bigint, only_actor text, range_start timestamptz, range_end timestamptz, most integer
)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    wanted record;
    erased integer;
BEGIN
    SELECT org_id, actor_hash INTO wanted FROM analytics.erasures WHERE erasure_id = erasure AND completed_at IS NULL;
    IF NOT FOUND OR wanted.actor_hash IS DISTINCT FROM sha256(convert_to(only_actor, 'UTF8')) THEN
        RAISE EXCEPTION 'erasure % does not ask for this', erasure USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH doomed AS MATERIALIZED (
        SELECT event_id, occurred_at FROM analytics.usage_events
        WHERE org_id = wanted.org_id AND (only_actor IS NULL OR actor_id = only_actor)
            AND occurred_at >= range_start AND occurred_at < range_end
        LIMIT most
    ),
    gone AS (
        DELETE FROM analytics.usage_events AS stored USING doomed
        WHERE stored.org_id = wanted.org_id AND stored.event_id = doomed.event_id
            AND stored.occurred_at = doomed.occurred_at
            AND stored.occurred_at >= range_start AND stored.occurred_at < range_end
        RETURNING batch_id
    ),
    counted AS (
        INSERT INTO analytics.erased_events AS stored (batch_id, erased_count)
        SELECT batch_id, count(*) FROM gone GROUP BY batch_id ORDER BY batch_id
        ON CONFLICT (batch_id) DO UPDATE SET erased_count = stored.erased_count + EXCLUDED.erased_count
    )
    SELECT count(*) INTO erased FROM gone;
    RETURN erased;
END
$$;

-- Dead letters hold bodies: those of the organisation, or those that contain the actor's name.
CREATE FUNCTION analytics.erase_dead_letters(erasure bigint, only_actor text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    erased integer;
BEGIN
    DELETE FROM analytics.dead_letters AS letter
    USING analytics.erasures AS wanted
    WHERE wanted.erasure_id = erasure AND wanted.completed_at IS NULL
        AND wanted.actor_hash IS NOT DISTINCT FROM sha256(convert_to(only_actor, 'UTF8'))
        AND letter.org_id = wanted.org_id
        AND (only_actor IS NULL OR position(convert_to(only_actor, 'UTF8') IN letter.body) > 0);
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END
$$;
REVOKE EXECUTE ON FUNCTION analytics.erase_events, analytics.erase_dead_letters FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.erase_events, analytics.erase_dead_letters TO analytics_rollup;

-- An erasure is a decision over an organisation's data like any other.
GRANT INSERT ON analytics.audit_log TO analytics_rollup;
ALTER POLICY appended_rows ON analytics.audit_log
    TO analytics_ingest, analytics_query_api, analytics_export, analytics_rollup;
