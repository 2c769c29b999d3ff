-- Families beside (org, model): their numbers follow within seconds, folded by a marker of their own, in larger groups.
-- Batches that were folded before they existed have no marker, so they are folded, oldest first.
ALTER TABLE analytics.ingestion_batches ADD COLUMN dimensions_folded_at timestamptz;
COMMENT ON COLUMN analytics.ingestion_batches.dimensions_folded_at IS
    'When the batch was added to the families detail, actor and quarter; never before folded_at.';
CREATE INDEX ingestion_batches_without_dimensions ON analytics.ingestion_batches (batch_id)
    WHERE dimensions_folded_at IS NULL;
GRANT UPDATE (dimensions_folded_at) ON analytics.ingestion_batches TO analytics_rollup;

-- Quarters of an hour, of which hours and days are made in zones whose offset is no whole hour.
CREATE TABLE analytics.usage_quarter_hourly (LIKE analytics.usage_hourly INCLUDING ALL) WITH (fillfactor = 75);
COMMENT ON TABLE analytics.usage_quarter_hourly IS 'Usage per org, model and 15 minutes. Written by rollup alone.';
SELECT public.create_hypertable(
    'analytics.usage_quarter_hourly', public.by_range('bucket_start', INTERVAL '7 days'), create_default_indexes => false
);

CREATE TABLE analytics.usage_detail_hourly (
    org_id              uuid        NOT NULL,
    bucket_start        timestamptz NOT NULL,
    series              uuid        NOT NULL,
    model_id            text        NOT NULL,
    client_id           text        NOT NULL,
    project             text        NOT NULL,
    status              text        NOT NULL,
    error_code          text        NOT NULL,
    invocations         bigint      NOT NULL,
    error_count         bigint      NOT NULL,
    timeout_count       bigint      NOT NULL,
    throttled_count     bigint      NOT NULL,
    input_tokens        bigint      NOT NULL,
    output_tokens       bigint      NOT NULL,
    cached_input_tokens bigint      NOT NULL,
    reasoning_tokens    bigint      NOT NULL,
    cost_microcents     bigint      NOT NULL,
    latency_bins        smallint[]  NOT NULL,
    latency_counts      bigint[]    NOT NULL,
    latency_merged      smallint    NOT NULL DEFAULT 0,
    first_event_at      timestamptz NOT NULL,
    last_event_at       timestamptz NOT NULL,
    revision            integer     NOT NULL DEFAULT 0,
    revised_at          timestamptz,
    PRIMARY KEY (org_id, bucket_start, series)
) WITH (fillfactor = 75);
COMMENT ON TABLE analytics.usage_detail_hourly IS
    'Usage per org, UTC hour, model, client, project, status and error code. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_detail_hourly.series IS
    'analytics.series() of the five columns that follow: together they can be longer than an index entry may be.';
COMMENT ON COLUMN analytics.usage_detail_hourly.client_id IS 'Empty when the event had none; so are project and error_code.';
SELECT public.create_hypertable(
    'analytics.usage_detail_hourly', public.by_range('bucket_start', INTERVAL '7 days'), create_default_indexes => false
);
CREATE TABLE analytics.usage_detail_daily (LIKE analytics.usage_detail_hourly INCLUDING ALL) WITH (fillfactor = 75);
COMMENT ON TABLE analytics.usage_detail_daily IS
    'The same per UTC day, for the days before rollup_progress.daily_through. Written by rollup alone.';
SELECT public.create_hypertable(
    'analytics.usage_detail_daily', public.by_range('bucket_start', INTERVAL '90 days'), create_default_indexes => false
);

CREATE TABLE analytics.usage_actor_hourly (
    org_id              uuid        NOT NULL,
    bucket_start        timestamptz NOT NULL,
    series              uuid        NOT NULL,
    actor_id            text        NOT NULL,
    model_id            text        NOT NULL,
    status              text        NOT NULL,
    error_code          text        NOT NULL,
    invocations         bigint      NOT NULL,
    error_count         bigint      NOT NULL,
    timeout_count       bigint      NOT NULL,
    throttled_count     bigint      NOT NULL,
    input_tokens        bigint      NOT NULL,
    output_tokens       bigint      NOT NULL,
    cached_input_tokens bigint      NOT NULL,
    reasoning_tokens    bigint      NOT NULL,
    cost_microcents     bigint      NOT NULL,
    latency_bins        smallint[]  NOT NULL,
    latency_counts      bigint[]    NOT NULL,
    latency_merged      smallint    NOT NULL DEFAULT 0,
    first_event_at      timestamptz NOT NULL,
    last_event_at       timestamptz NOT NULL,
    revision            integer     NOT NULL DEFAULT 0,
    revised_at          timestamptz,
    PRIMARY KEY (org_id, bucket_start, series)
) WITH (fillfactor = 75);
COMMENT ON TABLE analytics.usage_actor_hourly IS
    'Usage per org, UTC hour, actor, model, status and error code. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_actor_hourly.series IS
    'analytics.series() of the four columns that follow: together they can be longer than an index entry may be.';
COMMENT ON COLUMN analytics.usage_actor_hourly.actor_id IS 'Empty when the event had none; so is error_code.';
SELECT public.create_hypertable(
    'analytics.usage_actor_hourly', public.by_range('bucket_start', INTERVAL '7 days'), create_default_indexes => false
);
CREATE TABLE analytics.usage_actor_daily (LIKE analytics.usage_actor_hourly INCLUDING ALL) WITH (fillfactor = 75);
COMMENT ON TABLE analytics.usage_actor_daily IS
    'The same per UTC day, for the days before rollup_progress.daily_through. Written by rollup alone.';
SELECT public.create_hypertable(
    'analytics.usage_actor_daily', public.by_range('bucket_start', INTERVAL '90 days'), create_default_indexes => false
);

-- A day of these families is summed up once, when it is over: keeping it up to date all day would double their cost.
CREATE TABLE analytics.rollup_progress (
    family        text        PRIMARY KEY,
    daily_through timestamptz NOT NULL,
    CONSTRAINT rollup_progress_midnight CHECK (daily_through = date_trunc('day', daily_through, 'UTC'))
);
COMMENT ON TABLE analytics.rollup_progress IS 'How far the daily tables of detail and actor are. Written by rollup alone.';
COMMENT ON COLUMN analytics.rollup_progress.daily_through IS
    'The daily table has every day before this one, late events included, and nothing of it or later. Only grows.';
INSERT INTO analytics.rollup_progress (family, daily_through)
SELECT family, date_trunc('day', now(), 'UTC') FROM unnest(ARRAY['detail', 'actor']) AS family;

GRANT SELECT ON analytics.rollup_progress
    TO analytics_ingest, analytics_rollup, analytics_query_api, analytics_export;
SELECT analytics.protect_tenant_table('analytics.usage_quarter_hourly');
SELECT analytics.protect_tenant_table('analytics.usage_detail_hourly');
SELECT analytics.protect_tenant_table('analytics.usage_detail_daily');
SELECT analytics.protect_tenant_table('analytics.usage_actor_hourly');
SELECT analytics.protect_tenant_table('analytics.usage_actor_daily');
GRANT INSERT, UPDATE, DELETE ON analytics.usage_quarter_hourly, analytics.usage_detail_hourly,
    analytics.usage_detail_daily, analytics.usage_actor_hourly, analytics.usage_actor_daily TO analytics_rollup;
GRANT UPDATE (daily_through) ON analytics.rollup_progress TO analytics_rollup;

-- An event's project, as the families and whoever reads raw events must agree on it; '' when it has none. Other texts
-- are at most 200 characters long, this one is cut.
CREATE FUNCTION analytics.project(metadata jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT coalesce("left"(metadata ->> 'project', 200), '') $$;

-- The key of some dimension values within an organisation: 128 bits of a hash that nobody can make collide. STABLE, as
-- the text of an array is to PostgreSQL, so that it is inlined.
CREATE FUNCTION analytics.series(VARIADIC dimension_values text[]) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT encode(substr(sha256(convert_to(dimension_values::text, 'UTF8')), 1, 16), 'hex')::uuid $$;

-- The histogram of some bins, one for each call. Summing them up pays from some 64 on: below, histogram_append does it
-- later, and for few calls never has to.
CREATE FUNCTION analytics.histogram_of(calls smallint[])
RETURNS TABLE (bins smallint[], counts bigint[], merged smallint)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT calls, array_fill(1::bigint, ARRAY[cardinality(calls)]), 0::smallint WHERE cardinality(calls) <= 64
    UNION ALL
    SELECT array_agg(bin), array_agg(times), count(*)::smallint
    FROM (
        SELECT bin, count(*) AS times FROM (SELECT unnest(calls) AS bin) AS entries GROUP BY bin ORDER BY bin
    ) AS summed
    WHERE cardinality(calls) > 64
    HAVING cardinality(calls) > 64
$$;

-- Everything that the broker accepted before this time is in the families detail, actor and quarter.
CREATE FUNCTION analytics.dimensions_watermark() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN count(*) > 0 AND count(*) = count(accepted_through) THEN least(
        min(accepted_through),
        (SELECT min(first_chunk_at) FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL)
    ) END
    FROM analytics.stream_offsets
    WHERE retired_at IS NULL
$$;
