-- What the audit trail forgets by its age leaves a record, and what an erasure looks for in dead letters is every
-- spelling of a name.

-- As before, and for the audit trail: a chunk of it goes with a record in the trail's platform chain that says so, in the
-- same transaction. The links stay: they prove archived records, and that nothing else is missing.
CREATE OR REPLACE FUNCTION analytics.drop_oldest_chunk(dropped_table text, age interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '200ms'
AS $$
DECLARE
    oldest record;
BEGIN
    IF dropped_table NOT IN ('usage_events', 'audit_log') AND dropped_table !~ '^usage_([a-z]+_)?(hourly|daily)$' THEN
        RAISE EXCEPTION 'analytics.% has no retention', dropped_table USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF age < (CASE dropped_table WHEN 'audit_log' THEN INTERVAL '30 days' ELSE INTERVAL '2 days' END) THEN
        RAISE EXCEPTION 'a retention of % is too short for analytics.%', age, dropped_table
            USING ERRCODE = 'invalid_parameter_value';
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
    IF dropped_table = 'audit_log' THEN
        IF EXISTS (SELECT FROM analytics.audit_pending WHERE decided_at < oldest.range_end) THEN
            RAISE EXCEPTION '% has records without a link', oldest.name USING ERRCODE = 'object_in_use';
        END IF;
        INSERT INTO analytics.audit_log
            (decided_at, service, subject, roles, action, decision, reason, request_id, method, path)
        VALUES (
            clock_timestamp(), 'analytics-rollup', 'retention', '{}', 'audit:expire', 'allow',
            format('records are kept for %s', age), gen_random_uuid()::text, 'JOB',
            to_char(oldest.range_end AT TIME ZONE 'UTC', '"/audit/before/"YYYY-MM-DD"T"HH24:MI:SS"Z"')
        );
    END IF;
    PERFORM public.drop_chunks(format('analytics.%I', dropped_table)::regclass, older_than => oldest.range_end);
    INSERT INTO analytics.retained AS stored (table_name, dropped_before) VALUES (dropped_table, oldest.range_end)
    ON CONFLICT (table_name) DO UPDATE SET dropped_before = greatest(stored.dropped_before, EXCLUDED.dropped_before);
    RETURN oldest.name;
END
$$;

-- A name as JSON may spell it without a character beyond ASCII, as many encoders do.
CREATE FUNCTION analytics.json_ascii(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT string_agg(
        CASE
            WHEN code < 128 THEN letter
            WHEN code < 65536 THEN '\u' || lpad(to_hex(code), 4, '0')
            ELSE '\u' || to_hex(55296 + (code - 65536) / 1024) || '\u' || to_hex(56320 + (code - 65536) % 1024)
        END,
        '' ORDER BY place
    )
    FROM (
        SELECT letter, ascii(letter) AS code, place
        FROM unnest(string_to_array(substr(to_json(name)::text, 2, length(to_json(name)::text) - 2), NULL))
            WITH ORDINALITY AS letters (letter, place)
    ) AS coded
$$;

-- Dead letters hold bodies, as they came and as they were corrected: those of the organisation (by its id in the body
-- where nothing more could be read), or those of them that contain the actor's name in any of its spellings.
CREATE OR REPLACE FUNCTION analytics.erase_dead_letters(erasure bigint, only_actor text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    erased integer;
    escaped text := analytics.json_ascii(only_actor);
    quoted text := substr(to_json(only_actor)::text, 2, length(to_json(only_actor)::text) - 2);
BEGIN
    DELETE FROM analytics.dead_letters AS letter
    USING analytics.erasures AS wanted
    WHERE wanted.erasure_id = erasure AND wanted.completed_at IS NULL
        AND wanted.actor_hash IS NOT DISTINCT FROM sha256(convert_to(only_actor, 'UTF8'))
        AND (
            letter.org_id = wanted.org_id
            OR letter.org_id IS NULL
            AND position(wanted.org_id::text IN lower(encode(letter.body || coalesce(letter.replayed_body, ''), 'escape'))) > 0
        )
        AND (
            only_actor IS NULL
            OR position(convert_to(only_actor, 'UTF8') IN letter.body || coalesce(letter.replayed_body, '')) > 0
            OR position(convert_to(quoted, 'UTF8') IN letter.body || coalesce(letter.replayed_body, '')) > 0
            -- The digits of an escape may be of either case.
            OR escaped <> quoted
            AND position(
                lower(encode(convert_to(escaped, 'UTF8'), 'escape'))
                IN lower(encode(letter.body || coalesce(letter.replayed_body, ''), 'escape'))
            ) > 0
        );
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END
$$;
